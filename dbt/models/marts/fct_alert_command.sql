{%- set kept = {'at': 'given_at_utc', 'from': ['stg_alert_commands', 'stg_alert_events'], 'persons': ['actor']} -%}
{{ config(materialized='incremental', incremental_strategy='touched', meta={'touched': [], 'kept': kept}) }}
-- All of it is made anew each time, but for what has expired.
-- depends_on: {{ ref('int_first_kept') }}
with answers as (

    select
        command_id,
        max(case when event = 'rejected' then 1 else 0 end) as rejections,
        min(decided_at_utc) as answered_at_utc,
        max(case when event = 'rejected' then reason end) as rejected_because,
        count(*) as steps
    from {{ ref('stg_alert_events') }}
    where command_id is not null
    group by command_id

)

select
    given.command_id,
    given.store_id,
    given.alert_topic,
    given.command,
    given.actor,
    given.comment,
    given.given_at_utc,
    {{ business_time('given.given_at_utc', 'store.time_zone') }},
    given.alert_id,
    given.from_utc,
    given.until_utc,
    given.rule,
    given.asset_id,
    given.asset_class,
    given.area,
    given.device_id,
    given.rrule,
    given.lasts_s,
    given.cancels,
    case
        when answers.command_id is null then 'none yet'
        when answers.rejections = 1 then 'rejected'
        else 'carried out'
    end as answer,
    answers.answered_at_utc,
    answers.rejected_because,
    cast(coalesce(answers.steps, 0) as bigint) as steps
from {{ ref('stg_alert_commands') }} as given
left join answers
    on given.command_id = answers.command_id
left join {{ ref('dim_store') }} as store
    on given.store_id = store.store_id
    and {{ valid_at('store', 'given.given_at_utc') }}
