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
    {{ product_code('gtin') }} as product_id
from changes
where newest = 1
