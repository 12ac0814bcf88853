{%- set columns = {
    'run_id': 'varchar', 'contract': 'varchar', 'expectation': 'varchar', 'severity': 'varchar', 'success': 'boolean',
    'checked': 'bigint', 'unexpected': 'bigint', 'observed': 'varchar', 'accepted': 'boolean', 'at': 'instant',
} -%}
select
    run_id,
    contract,
    expectation,
    severity,
    success as is_met,
    checked as rows_checked,
    unexpected as rows_unexpected,
    nullif(observed, '') as observed,
    accepted as was_accepted,
    {{ utc('"at"') }} as checked_at_utc
from {{ audit('quality', columns) }}
