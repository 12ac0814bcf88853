with span as (

    select
        store_id,
        first_logged_utc as span_start_utc,
        last_logged_utc as span_end_utc
    from {{ ref('int_store_span') }}
    where first_logged_utc is not null

),

zoned as (

    select
        span.store_id,
        span.span_start_utc,
        span.span_end_utc,
        store.time_zone,
        {{ local_date('span.span_start_utc', 'store.time_zone') }} as first_date,
        {{ local_date('span.span_end_utc', 'store.time_zone') }} as last_date
    from span
    left join {{ ref('dim_store') }} as store
        on span.store_id = store.store_id
        and {{ valid_at('store', 'span.span_end_utc') }}

),

-- Enough days for 27 years of history.
numbers as (

    select cast(generated_number - 1 as integer) as n
    from ({{ dbt.generate_series(10000) }}) as series

),

days as (

    select
        zoned.*,
        cast({{ dbt.dateadd('day', 'numbers.n', 'zoned.first_date') }} as date) as business_date
    from zoned
    -- A store that no dimension knows has no local dates: one row without one.
    inner join numbers on numbers.n <= coalesce({{ dbt.datediff('zoned.first_date', 'zoned.last_date', 'day') }}, 0)

),

bounded as (

    select
        store_id,
        business_date,
        time_zone,
        {{ day_start_utc('business_date', 'time_zone') }} as day_start_utc,
        {{ day_end_utc('business_date', 'time_zone') }} as day_end_utc,
        span_start_utc,
        span_end_utc
    from days

)

select
    store_id,
    business_date,
    time_zone,
    day_start_utc,
    day_end_utc,
    cast({{ seconds_between('day_start_utc', 'day_end_utc') }} / 3600 as decimal(4, 2)) as day_hours,
    greatest(day_start_utc, span_start_utc) as covered_from_utc,
    least(day_end_utc, span_end_utc) as covered_to_utc
from bounded
