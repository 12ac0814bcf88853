with told as (

    select
        *,
        min(told_at_utc) over (partition by contract, expectation, store_id, subject, from_utc) as first_told_utc,
        row_number() over (
            partition by contract, expectation, store_id, subject, from_utc
            order by told_at_utc desc, run_id desc
        ) as place
    from {{ ref('stg_quality_findings') }}

)

select
    told.contract,
    told.expectation,
    told.store_id,
    told.subject,
    told.from_utc,
    told.to_utc,
    {{ business_time('told.from_utc', 'store.time_zone') }},
    told.severity,
    told.events,
    told.observed,
    told.was_accepted,
    told.first_told_utc,
    told.told_at_utc
from told
left join {{ ref('dim_store') }} as store
    on told.store_id = store.store_id
    and {{ valid_at('store', 'told.from_utc') }}
where told.place = 1
