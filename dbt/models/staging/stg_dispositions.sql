{%- set columns = {
    'run_id': 'varchar', 'contract': 'varchar', 'disposition': 'varchar', 'rows': 'bigint', 'bronze_version': 'bigint',
    'at': 'instant',
} -%}
select
    run_id,
    contract,
    disposition,
    "rows" as row_count,
    bronze_version is not null as is_of_bronze,
    {{ utc('"at"') }} as recorded_at_utc
from {{ audit('dispositions', columns) }}
