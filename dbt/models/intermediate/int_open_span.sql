-- Days on which anything was seen or measured in a store, those between them, and one more at each end: a local date
-- and UTC's are at most one apart.
with span as (

    select
        store_id,
        cast({{ dbt.dateadd('day', -1, 'first_event_utc') }} as date) as first_date,
        cast({{ dbt.dateadd('day', 1, 'last_event_utc') }} as date) as last_date
    from {{ ref('int_store_span') }}

),

counted as (

    select
        *,
        {{ dbt.datediff('first_date', 'last_date', 'day') }} as days_after_first
    from span

),

-- Enough days for 27 years of history.
numbers as (

    select cast(generated_number - 1 as integer) as n
    from ({{ dbt.generate_series(10000) }}) as series

),

days as (

    select
        counted.store_id,
        cast({{ dbt.dateadd('day', 'numbers.n', 'counted.first_date') }} as date) as business_date
    from counted
    inner join numbers on numbers.n <= counted.days_after_first

),

dated as (

    select
        days.store_id,
        days.business_date,
        {{ weekday('days.business_date') }} as weekday,
        store.time_zone,
        store.version_id
    from days
    inner join {{ ref('dim_store') }} as store
        on days.store_id = store.store_id
        and {{ valid_at('store', dbt.dateadd('hour', 12, 'cast(days.business_date as timestamp)')) }}

),

weekly as (

    select
        change.event_id as version_id,
        cast({{ struct_field('weekly_span', 'day') }} as varchar) as weekday,
        cast({{ struct_field('weekly_span', 'opens') }} as varchar) as opens,
        cast({{ struct_field('weekly_span', 'closes') }} as varchar) as closes
    from {{ ref('stg_stores') }} as change
    {{ each_element('change.opening_hours', 'weekly_span') }}

),

holidays as (

    select
        change.event_id as version_id,
        cast({{ struct_field('holiday', 'date') }} as date) as business_date,
        cast({{ struct_field('holiday', 'closed') }} as boolean) as is_closed,
        cast({{ struct_field('holiday', 'opens') }} as varchar) as opens,
        cast({{ struct_field('holiday', 'closes') }} as varchar) as closes
    from {{ ref('stg_stores') }} as change
    {{ each_element('change.holidays', 'holiday') }}

),

with_hours as (

    select distinct version_id
    from weekly

),

local_spans as (

    select dated.store_id, dated.business_date, dated.time_zone, weekly.opens, weekly.closes
    from dated
    inner join weekly
        on dated.version_id = weekly.version_id
        and dated.weekday = weekly.weekday
    left join holidays
        on dated.version_id = holidays.version_id
        and dated.business_date = holidays.business_date
    where holidays.version_id is null

    union all

    select dated.store_id, dated.business_date, dated.time_zone, holidays.opens, holidays.closes
    from dated
    inner join holidays
        on dated.version_id = holidays.version_id
        and dated.business_date = holidays.business_date
    inner join with_hours on dated.version_id = with_hours.version_id
    where not holidays.is_closed

    union all

    -- A store without any opening hours is never closed, as alerting/hours.py has it.
    select dated.store_id, dated.business_date, dated.time_zone, '00:00' as opens, '24:00' as closes
    from dated
    left join with_hours on dated.version_id = with_hours.version_id
    where with_hours.version_id is null

)

select
    store_id,
    business_date,
    {{ time_of_day_utc('business_date', 'opens', 'time_zone') }} as opens_utc,
    {{ time_of_day_utc('business_date', 'closes', 'time_zone') }} as closes_utc
from local_spans
