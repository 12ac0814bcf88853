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
    storage,
    true as is_known
from changes
where newest = 1

union all

-- Sold somewhere where neither the store nor the chain knows it.
select
    'chain' as store_id,
    seen.seen_id as product_id,
    {{ valid_always() }},
    cast(null as varchar) as version_id,
    cast(null as varchar) as product_name,
    cast(null as varchar) as department,
    cast(null as varchar) as category,
    cast(null as varchar) as brand,
    cast(null as varchar) as status,
    cast(null as varchar) as sold_by,
    cast(null as decimal(18, 3)) as list_price,
    cast(null as varchar) as currency,
    cast(null as varchar) as storage,
    false as is_known
from {{ ref('int_seen_key') }} as seen
left join changes
    on seen.seen_id = changes.product_id
    and changes.store_id in ('chain', seen.store_id)
where seen.dimension = 'product' and changes.product_id is null
group by seen.seen_id
