-- depends_on: {{ ref('int_silver_batch') }}
select
    event_id,
    {{ utc('event_time') }} as changed_at_utc,
    {{ utc('arrived_at') }} as arrived_at_utc,
    {{ utc('loaded_at') }} as loaded_at_utc,
    loaded_at,
    {{ event_date() }} as event_date,
    store_id,
    {{ product_code('product_id') }} as product_id,
    name,
    department,
    category,
    brand,
    status,
    sold_by,
    price as price_minor,
    currency,
    storage
from {{ source('silver', 'products') }}
