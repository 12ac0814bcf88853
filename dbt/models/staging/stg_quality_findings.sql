{%- set columns = {
    'run_id': 'varchar', 'contract': 'varchar', 'expectation': 'varchar', 'severity': 'varchar', 'store_id': 'varchar',
    'subject': 'varchar', 'from_at': 'instant', 'to_at': 'instant', 'counted': 'bigint', 'observed': 'varchar',
    'accepted': 'boolean', 'at': 'instant',
} -%}
select
    run_id,
    contract,
    expectation,
    severity,
    store_id,
    subject,
    {{ utc('from_at') }} as from_utc,
    {{ utc('to_at') }} as to_utc,
    counted as events,
    nullif(observed, '') as observed,
    accepted as was_accepted,
    {{ utc('"at"') }} as told_at_utc
from {{ audit('findings', columns) }}
