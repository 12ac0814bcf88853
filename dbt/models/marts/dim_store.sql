with changes as (

    select *, {{ newest_first('store_id', 'changed_at_utc') }} as newest
    from {{ ref('stg_stores') }}

)

select
    store_id,
    {{ valid_from_to('store_id', 'changed_at_utc') }},
    event_id as version_id,
    name as store_name,
    status,
    time_zone,
    locale,
    display_unit,
    currency,
    country,
    area_m2
from changes
where newest = 1
