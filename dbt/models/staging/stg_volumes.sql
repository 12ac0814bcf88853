{%- set columns = {
    'contract': 'varchar', 'store_id': 'varchar', 'business_date': 'date', 'events': 'bigint',
    'usual': 'double precision', 'weeks': 'integer', 'ratio': 'double precision', 'volume': 'varchar',
    'newest_at': 'instant', 'measured_at': 'instant', 'age_s': 'bigint', 'limit_s': 'bigint', 'freshness': 'varchar',
} -%}
select
    contract,
    store_id,
    business_date,
    events,
    cast(usual as decimal(18, 1)) as usual_events,
    weeks as weeks_known,
    cast(ratio as decimal(18, 6)) as volume_ratio,
    volume,
    {{ utc('newest_at') }} as newest_at_utc,
    {{ utc('measured_at') }} as measured_at_utc,
    age_s,
    limit_s,
    freshness
from {{ audit('volumes', columns) }}
