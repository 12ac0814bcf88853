with changes as (

    select *, {{ newest_first('asset_id', 'changed_at_utc') }} as newest
    from {{ ref('stg_assets') }}

)

select
    asset_id,
    {{ valid_from_to('asset_id', 'changed_at_utc') }},
    event_id as version_id,
    store_id,
    asset_class,
    name as asset_name,
    area,
    status,
    parent_id,
    setpoint_c,
    {{ product_code('gtin') }} as product_id,
    true as is_known
from changes
where newest = 1

union all

select
    seen.seen_id as asset_id,
    {{ valid_always() }},
    cast(null as varchar) as version_id,
    min(seen.store_id) as store_id,
    cast(null as varchar) as asset_class,
    cast(null as varchar) as asset_name,
    cast(null as varchar) as area,
    cast(null as varchar) as status,
    cast(null as varchar) as parent_id,
    cast(null as decimal(9, 3)) as setpoint_c,
    cast(null as varchar) as product_id,
    false as is_known
from {{ ref('int_seen_key') }} as seen
where seen.dimension = 'asset' and seen.seen_id not in (select asset_id from changes)
group by seen.seen_id
