with changes as (

    select *, {{ newest_first('store_id, product_id', 'changed_at_utc') }} as newest
    from {{ ref('stg_products') }}

)

select
    store_id,
    product_id,
    {{ valid_from_to('store_id, product_id', 'changed_at_utc') }},
    event_id as version_id,
    name as product_name,
    department,
    category,
    brand,
    status,
    sold_by,
    {{ major_units('price_minor', 'currency') }} as list_price,
    currency,
    storage
from changes
where newest = 1
