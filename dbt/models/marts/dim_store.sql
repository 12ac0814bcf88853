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
    area_m2,
    true as is_known
from changes
where newest = 1

union all

-- A store that nobody has told of has no zone: its facts are told in UTC until somebody does.
select
    seen.seen_id as store_id,
    {{ valid_always() }},
    cast(null as varchar) as version_id,
    seen.seen_id as store_name,
    cast(null as varchar) as status,
    'UTC' as time_zone,
    cast(null as varchar) as locale,
    'Cel' as display_unit,
    cast(null as varchar) as currency,
    cast(null as varchar) as country,
    cast(null as decimal(18, 2)) as area_m2,
    false as is_known
from {{ ref('int_seen_key') }} as seen
where
    seen.dimension = 'store'
    and seen.seen_id <> 'chain'
    and seen.seen_id not in (select store_id from changes)
