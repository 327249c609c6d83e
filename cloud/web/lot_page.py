"""The lot page: where, when, how cold, what is missing, who decided what, and what stands behind it."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Response
from markupsafe import Markup
from sqlalchemy import Connection

from cloud.db.engine import reading
from cloud.evidence import versions
from cloud.evidence.lot import lot_evidence
from cloud.evidence.model import LotEvidence
from cloud.registry import query as registry
from cloud.review.submissions import APPROVED, SUBMITTED, Submission, submission
from cloud.web import phrase
from cloud.web.chart import Chart, Section
from cloud.web.form import Refused
from cloud.web.page import Page, open_page, render
from cloud.web.proof import Proof, proof_of
from cloud.web.stay_view import StayView, drawn, excesses, view_stay
from cloud.web.timeline import Moment, moments
