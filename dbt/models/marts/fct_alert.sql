{%- set touched = [{'by': 'int_touched_alert', 'key': ['alert_id']}] -%}
{%- set kept = {'at': 'starts_at_utc', 'from': ['stg_alert_events']} -%}
{{ config(materialized='incremental', incremental_strategy='touched', meta={'touched': touched, 'kept': kept}) }}
with steps as (

    select
        *,
        row_number() over (partition by alert_id order by sequence desc) as newest
    from {{ ref('stg_alert_events') }} as step
    -- Alerts about the pipeline itself are no store's, and a watchdog that says every 30 s that it lives is none at all.
    where
        not answers_command_only
        and coalesce(alert_topic, '') <> 'alerts.platform'
        and {{ is_touched(touched, 'step') }}

),

summed as (

    select
        alert_id,
        count(*) as steps,
        min(case when event = 'raised' then decided_at_utc end) as raised_at_utc,
        min(case when event = 'escalated' then decided_at_utc end) as escalated_at_utc,
        min(case when event = 'acknowledged' then event_time_utc end) as acknowledged_at_utc,
        max(case severity when 'critical' then 3 when 'warning' then 2 else 1 end) as worst_rank,
        min(case when status = 'silenced' then decided_at_utc end) as silenced_at_utc,
        min(case when status = 'masked' then decided_at_utc end) as masked_at_utc,
        max(case when event = 'closed' then decided_at_utc end) as closed_at_utc,
        max(ends_at_utc) as last_end_utc,
        max(members) as most_members,
        sum(case when event = 'corrected' then 1 else 0 end) as corrections,
        max(case when cause is not null or action is not null or goods is not null then sequence end) as closing_step,
        max(case when comment is not null then sequence end) as comment_step,
        max(case when worst_value is not null then sequence end) as worst_step
    from steps
    group by alert_id

),

alerts as (

    select
        last_step.*,
        summed.steps,
        summed.raised_at_utc,
        summed.escalated_at_utc,
        summed.acknowledged_at_utc,
        summed.silenced_at_utc,
        summed.masked_at_utc,
        summed.closed_at_utc,
        summed.most_members,
        summed.worst_rank,
        summed.corrections,
        case when last_step.status = 'resolved' then coalesce(summed.last_end_utc, last_step.event_time_utc) end
            as ended_at_utc,
        worst.worst_value as furthest_value,
        closing.cause as closing_cause,
        closing.action as closing_action,
        closing.goods as closing_goods,
        noted.comment as note,
        store.time_zone
    from steps as last_step
    inner join summed on last_step.alert_id = summed.alert_id
    left join steps as worst
        on summed.alert_id = worst.alert_id and summed.worst_step = worst.sequence
    left join steps as closing
        on summed.alert_id = closing.alert_id and summed.closing_step = closing.sequence
    left join steps as noted
        on summed.alert_id = noted.alert_id and summed.comment_step = noted.sequence
    left join {{ ref('dim_store') }} as store
        on last_step.store_id = store.store_id
        and {{ valid_at('store', 'last_step.starts_at_utc') }}
    where last_step.newest = 1

)

select
    alert_id,
    store_id,
    asset_id,
    asset_class,
    device_id,
    metric,
    rule,
    rule_version,
    alert_topic,
    starts_at_utc,
    {{ business_time('starts_at_utc', 'time_zone') }},
    raised_at_utc,
    escalated_at_utc,
    acknowledged_at_utc,
    silenced_at_utc,
    masked_at_utc,
    ended_at_utc,
    closed_at_utc,
    status,
    severity,
    case worst_rank when 3 then 'critical' when 2 then 'warning' else 'info' end as worst_severity,
    {{ minutes(seconds_between('starts_at_utc', 'raised_at_utc')) }} as minutes_to_raise,
    {{ minutes(seconds_between('starts_at_utc', 'ended_at_utc')) }} as minutes_open,
    limit_kind,
    limit_value,
    limit_unit,
    furthest_value as worst_value,
    cast(steps as bigint) as steps,
    cast(corrections as bigint) as corrections,
    is_retrospective,
    needs_closing,
    part_of,
    most_members as members,
    summary,
    closing_cause as cause,
    closing_action as action,
    closing_goods as goods,
    case
        when closing_action is not null or closing_goods is not null
            then coalesce(closing_action, 'action not recorded')
                || coalesce('; goods ' || closing_goods, '')
        when note is not null then note
        when needs_closing then 'over, and still to be closed'
        when acknowledged_at_utc is not null then 'acknowledged, nothing recorded'
        when status = 'resolved' then 'over by itself, nothing recorded'
        else 'still open, nothing recorded'
    end as what_was_done
from alerts
