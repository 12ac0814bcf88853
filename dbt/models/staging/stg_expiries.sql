{%- set columns = {'contract': 'varchar', 'kept_from': 'date', 'at': 'instant'} -%}
select
    contract,
    kept_from,
    {{ utc('"at"') }} as recorded_at_utc
from {{ audit('expiries', columns) }}
