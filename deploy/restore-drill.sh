#!/bin/sh
# Restore drill: restores the newest backup of a folder into a scratch folder, checks every byte of it, says how old it
# is and what is in it, and removes the scratch folder again. The running cloud is not touched.
#
#   restore-drill.sh BACKUP_DIR [MAX_AGE_HOURS]     0: restorable; 1: not, or older than MAX_AGE_HOURS (26)
#
# COLDPROOF names the program when it is not on the path; TMPDIR where the scratch folder goes: it needs the size of a
# backup.
set -eu

[ $# -ge 1 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
folder=$1
max_age_h=${2:-26}
coldproof=${COLDPROOF:-coldproof}

newest=
for file in "$folder"/coldproof-*.backup; do # sorted by name, and the name is the time
    [ -f "$file" ] && newest=$file
done
[ -n "$newest" ] || { echo "drill: no coldproof-*.backup in $folder" >&2; exit 1; }

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

echo "drill: $newest"
"$coldproof" cloud restore "$newest" --data "$scratch/data" > "$scratch/said" || {
    echo "drill: FAILED, this backup cannot be restored" >&2
    exit 1
}
cat "$scratch/said"

age_h=$(sed -n 's/^made: .*(\([0-9.-]*\) h ago).*/\1/p' "$scratch/said")
awk -v age="$age_h" -v most="$max_age_h" 'BEGIN { exit !(age != "" && age <= most) }' || {
    echo "drill: FAILED, the newest backup is $age_h h old, at most $max_age_h h are allowed: are backups made?" >&2
    exit 1
}
echo "drill: passed"
