-- depends_on: {{ ref('int_silver_batch') }}
select
    event_id,
    {{ utc('event_time') }} as changed_at_utc,
    {{ utc('arrived_at') }} as arrived_at_utc,
    {{ utc('loaded_at') }} as loaded_at_utc,
    loaded_at,
    {{ event_date() }} as event_date,
    store_id,
    name,
    status,
    time_zone,
    locale,
    display_unit,
    currency,
    country,
    cast(area_m2 as decimal(18, 2)) as area_m2,
    opening_hours,
    holidays
from {{ source('silver', 'stores') }}
