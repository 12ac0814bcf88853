-- What runs did carries no store, so its date is the run's (UTC); findings and volumes have their stores' own.
with taken as (

    select
        contract,
        cast(recorded_at_utc as date) as business_date,
        sum(case when is_of_bronze and disposition in ('inserted', 'duplicate', 'quarantined') then row_count else 0 end)
            as rows_in,
        sum(case when is_of_bronze and disposition = 'inserted' then row_count else 0 end) as inserted,
        sum(case when is_of_bronze and disposition = 'duplicate' then row_count else 0 end) as duplicates,
        sum(case when is_of_bronze and disposition = 'quarantined' then row_count else 0 end) as quarantined,
        sum(case when disposition = 'replayed' then row_count else 0 end) as replayed
    from {{ ref('stg_dispositions') }}
    group by contract, cast(recorded_at_utc as date)

),

held as (

    select
        contract,
        business_date,
        count(distinct expectation) as expectations,
        count(distinct case when severity = 'critical' and not is_met then expectation end) as expectations_failed,
        count(distinct case when severity <> 'critical' and not is_met then expectation end) as expectations_warned
    from {{ ref('fct_quality_result') }}
    -- These are of no contract: what they judge stands in the columns of each.
    where contract not in ('{{ var('quality_beside') | join("', '") }}')
    group by contract, business_date

),

found as (

    select contract, business_date, count(*) as findings
    from {{ ref('fct_quality_finding') }}
    where business_date is not null
    group by contract, business_date

),

counted as (

    select
        contract,
        business_date,
        sum(events) as events,
        sum(case when volume_ratio is not null then events else 0 end) as events_judged,
        sum(case when volume_ratio is not null then usual_events else 0 end) as usual_events,
        sum(case when volume = 'low' then 1 else 0 end) as stores_low,
        sum(case when volume = 'high' then 1 else 0 end) as stores_high,
        sum(case when volume_ratio is null then 1 else 0 end) as stores_not_judged,
        max(age_s) as oldest_s,
        sum(case when freshness = 'stale' then 1 else 0 end) as stores_stale
    from {{ ref('stg_volumes') }}
    group by contract, business_date

),

days as (

    {%- for part in ['taken', 'held', 'found'] %}
    select contract, business_date
    from {{ part }}

    union
    {% endfor %}
    select contract, business_date
    from counted

)

select
    days.contract,
    days.business_date,
    cast(coalesce(taken.rows_in, 0) as bigint) as rows_in,
    cast(coalesce(taken.inserted, 0) as bigint) as inserted,
    cast(coalesce(taken.duplicates, 0) as bigint) as duplicates,
    cast(coalesce(taken.quarantined, 0) as bigint) as quarantined,
    {{ percent('taken.quarantined', 'taken.rows_in') }} as quarantined_percent,
    cast(coalesce(taken.replayed, 0) as bigint) as replayed,
    cast(coalesce(held.expectations, 0) as bigint) as expectations,
    cast(coalesce(held.expectations_failed, 0) as bigint) as expectations_failed,
    cast(coalesce(held.expectations_warned, 0) as bigint) as expectations_warned,
    cast(coalesce(found.findings, 0) as bigint) as findings,
    cast(counted.events as bigint) as events,
    cast(round({{ quotient('counted.events_judged', 'counted.usual_events') }}, 6) as decimal(18, 6)) as volume_ratio,
    cast(counted.stores_low as bigint) as stores_low,
    cast(counted.stores_high as bigint) as stores_high,
    cast(counted.stores_not_judged as bigint) as stores_not_judged,
    cast(round({{ quotient('counted.oldest_s', '60') }}, 2) as decimal(18, 2)) as newest_event_age_min,
    cast(counted.stores_stale as bigint) as stores_stale
from days
{%- for part in ['taken', 'held', 'found', 'counted'] %}
left join {{ part }}
    on days.contract = {{ part }}.contract
    and days.business_date = {{ part }}.business_date
{%- endfor %}
