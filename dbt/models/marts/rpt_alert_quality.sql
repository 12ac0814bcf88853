with answered as (

    select
        alert_id,
        sum(case when event = 'acknowledged' then 1 else 0 end) as acknowledgements,
        min(case when event = 'acknowledged' then minutes_since_told end) as acknowledged_after,
        min(case when status = 'firing' then minutes_since_told end) as fired_after,
        max(case when event = 'corrected' and status = 'resolved' then 1 else 0 end) as was_taken_back
    from {{ ref('fct_alert_event') }}
    group by alert_id

),

alerts as (

    select
        alert.*,
        answered.acknowledgements,
        -- While it was silenced nobody was told.
        case
            when answered.acknowledged_after > answered.fired_after then answered.acknowledged_after - answered.fired_after
            when answered.acknowledged_after is not null then 0
        end as minutes_to_acknowledge,
        case
            when answered.was_taken_back = 1
                or lower(trim(alert.cause)) in ('{{ var('false_alert_causes') | join("', '") }}')
                then 1
            else 0
        end as is_false,
        lag(alert.ended_at_utc) over (
            partition by alert.store_id, alert.rule, alert.asset_id, coalesce(alert.device_id, '')
            order by alert.starts_at_utc, alert.alert_id
        ) as ended_before_utc
    from {{ ref('fct_alert') }} as alert
    inner join answered on alert.alert_id = answered.alert_id

),

judged as (

    select
        *,
        case
            when starts_at_utc < {{ dbt.dateadd('hour', var('alert_repeat_hours'), 'ended_before_utc') }} then 1
            else 0
        end as is_repeat
    from alerts

)

select
    store_id,
    rule,
    business_date,
    cast(count(*) as bigint) as alerts,
    cast(sum(case when worst_severity = 'critical' then 1 else 0 end) as bigint) as critical_alerts,
    cast(sum(is_false) as bigint) as false_alerts,
    {{ percent('sum(is_false)', 'count(*)') }} as false_percent,
    cast(sum(is_repeat) as bigint) as repeats,
    {{ percent('sum(is_repeat)', 'count(*)') }} as repeat_percent,
    cast(sum(case when acknowledgements > 0 then 1 else 0 end) as bigint) as acknowledged,
    cast(sum(acknowledgements) as bigint) as acknowledgements,
    cast(sum(case when acknowledgements = 0 and ended_at_utc is null then 1 else 0 end) as bigint)
        as waiting_for_somebody,
    cast(round({{ quotient('sum(minutes_to_acknowledge)', 'count(minutes_to_acknowledge)') }}, 2) as decimal(18, 2))
        as minutes_to_acknowledge_avg,
    max(minutes_to_acknowledge) as minutes_to_acknowledge_max,
    cast(sum(case when needs_closing then 1 else 0 end) as bigint) as waiting_for_closing,
    max(minutes_open) as minutes_open_max
from judged
group by store_id, rule, business_date
