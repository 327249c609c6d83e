"""The Core Business Vocabulary terms that may stand bare in EPCIS JSON, and the form of those that may not.

CBV 2.0 (ISO/IEC 19988:2024) §7, and the sensor types of the GS1 Web Vocabulary.
"""

from __future__ import annotations

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


BIZ_STEPS = _words(
    "accepting arriving assembling collecting commissioning consigning creating_class_instance cycle_counting"
    " decommissioning departing destroying disassembling dispensing encoding entering_exiting holding inspecting"
    " installing killing loading other packing picking receiving removing repackaging repairing replacing reserving"
    " retail_selling sampling sensor_reporting shipping staging_outbound stock_taking stocking storing transporting"
    " unloading unpacking void_shipping"
)
DISPOSITIONS = _words(
    "active available completeness_inferred completeness_verified conformant container_closed container_open"
    " damaged destroyed dispensed disposed encoded expired in_progress in_transit inactive mismatch_class"
    " mismatch_instance mismatch_quantity needs_replacement no_pedigree_match non_conformant non_sellable_other"
    " partially_dispensed recalled reserved retail_sold returned sellable_accessible sellable_not_accessible stolen"
    " unavailable unknown"
)
BIZ_TRANSACTION_TYPES = _words("bol cert desadv inv pedigree po poc prodorder recadv rma testprd testres upevt")
SOURCE_DESTINATION_TYPES = frozenset({"owning_party", "possessing_party", "location"})
ERROR_REASONS = frozenset({"did_not_occur", "incorrect_data"})
SENSOR_EXCEPTIONS = frozenset({"ALARM_CONDITION", "ERROR_CONDITION"})
COMPONENTS = _words(
    "x y z axial_distance azimuth height spherical_radius polar_angle elevation_angle easting northing latitude"
    " longitude altitude"
)

# gs1:MeasurementType → the quantity its unit must measure (standards/units.py); None where our table has none.
MEASUREMENT_TYPES: dict[str, str | None] = dict.fromkeys(
    _words(
        "AbsorbedDose AbsorbedDoseRate AmountOfSubstance AmountOfSubstancePerUnitVolume AngularAcceleration"
        " AngularMomentum AngularVelocity Area Capacitance Conductance Count DoseEquivalent DoseEquivalentRate"
        " DynamicViscosity ElectricCharge ElectricCurrentDensity ElectricFieldStrength Exposure Force Inductance"
        " Irradiance KinematicViscosity LinearMomentum Luminance LuminousFlux LuminousIntensity MagneticFlux"
        " MagneticFluxDensity MagneticVectorPotential MassFlowRate MassPerAreaTime MemoryCapacity MolalityOfSolute"
        " MolarEnergy MolarMass MolarVolume RadiantFlux RadiantIntensity Radioactivity Resistivity SolidAngle"
        " SpecificVolume SurfaceDensity SurfaceTension Torque VolumeFlowRate VolumetricFlux Wavenumber"
    )
) | {
    "AbsoluteHumidity": "mass concentration",
    "Acceleration": "acceleration",
    "Altitude": "length",
    "Angle": "angle",
    "Conductivity": "conductivity",
    "Density": "mass concentration",
    "Dimensionless": "ratio",
    "ElectricCurrent": "current",
    "Energy": "energy",
    "Frequency": "frequency",
    "Illuminance": "illuminance",
    "Length": "length",
    "Mass": "mass",
    "MassConcentration": "mass concentration",
    "Power": "power",
    "Pressure": "pressure",
    "RelativeHumidity": "ratio",
    "Resistance": "resistance",
    "Speed": "speed",
    "Temperature": "temperature",
    "Time": "time",
    "Voltage": "voltage",
    "Volume": "volume",
    "VolumeFraction": "ratio",
}

# RFC 3986 §2–3: a scheme, and then only characters a URI may hold. A CURIE (`cbv:BizStep-x`) has this form too.
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})*")
# CBV terms are written bare in EPCIS JSON, or as ref.gs1.org URIs; never in these older forms.
_OLD_CBV = re.compile(r"urn:epcglobal:cbv|https?://ns\.gs1\.org/cbv/")
_OLD_WEB_VOC = re.compile(r"https?://(?:www\.)?gs1\.org/voc/")


def is_uri(text: str) -> bool:
    """Whether `text` is an absolute URI or a CURIE."""
    return _URI.fullmatch(text) is not None


def is_term(text: str, terms: frozenset[str] | dict[str, str | None]) -> bool:
    """Whether `text` is one of the bare terms or a URI that isn't an old form of one."""
    return text in terms or (is_uri(text) and not _OLD_CBV.match(text))


def is_sensor_term(text: str, terms: frozenset[str] | dict[str, str | None]) -> bool:
    """Like `is_term`, for the terms of the GS1 Web Vocabulary."""
    return text in terms or (is_uri(text) and not _OLD_WEB_VOC.match(text))
