{%- set touched = [{'by': 'int_touched_alert', 'key': ['alert_id']}] -%}
{%- set kept = {'at': 'event_time_utc', 'from': ['stg_alert_events'], 'persons': ['actor']} -%}
{{ config(materialized='incremental', incremental_strategy='touched', meta={'touched': touched, 'kept': kept}) }}
with steps as (

    select
        *,
        lag(status) over (partition by alert_id order by sequence) as status_before,
        lead(decided_at_utc) over (partition by alert_id order by sequence) as next_decided_at_utc,
        min(decided_at_utc) over (partition by alert_id) as told_at_utc,
        -- Of those of its kind in this alert, the how many-th.
        row_number() over (partition by alert_id, event order by sequence) as occurrence
    from {{ ref('stg_alert_events') }} as step
    -- As in fct_alert: neither answers to commands nor what the guard tells of the pipeline.
    where
        not answers_command_only
        and coalesce(alert_topic, '') <> 'alerts.platform'
        and {{ is_touched(touched, 'step') }}

)

select
    steps.alert_id,
    steps.sequence,
    steps.store_id,
    steps.asset_id,
    steps.asset_class,
    steps.device_id,
    steps.metric,
    steps.rule,
    steps.rule_version,
    steps.alert_topic,
    steps.event_time_utc,
    {{ business_time('steps.event_time_utc', 'store.time_zone') }},
    steps.decided_at_utc,
    steps.event,
    cast(steps.occurrence as bigint) as occurrence,
    steps.status_before,
    steps.status,
    steps.severity,
    {{ minutes(seconds_between('steps.told_at_utc', 'steps.decided_at_utc')) }} as minutes_since_told,
    {{ minutes(seconds_between('steps.decided_at_utc', 'steps.next_decided_at_utc')) }} as minutes_until_next,
    steps.worst_value,
    steps.limit_unit as unit,
    cast(steps.members as bigint) as members,
    steps.is_retrospective,
    steps.needs_closing,
    steps.reason,
    steps.actor,
    steps.comment,
    steps.until_utc,
    steps.command_id
from steps
left join {{ ref('dim_store') }} as store
    on steps.store_id = store.store_id
    and {{ valid_at('store', 'steps.event_time_utc') }}
