-- How much frozen and chilled food did each store sell while a freezer or cooler of its was too warm?
with kept_cold as (

    select *
    from {{ ref('fct_sale_line') }}
    where kind = 'sale' and storage in ('frozen', 'chilled') and not is_voided

),

-- A line counts once, however many cases of its kind were too warm at the time.
at_risk as (

    select line.store_id, line.transaction_id, line.line_no
    from kept_cold as line
    inner join {{ ref('fct_alert') }} as alert
        on line.store_id = alert.store_id
        and alert.asset_class = case line.storage when 'frozen' then 'freezer' else 'cooler' end
        -- Doors and defrosts have alerts of their own.
        and alert.metric = 'temperature'
        and alert.limit_kind in ('above', 'cumulative')
        and line.event_time_utc >= alert.starts_at_utc
        and (alert.ended_at_utc is null or line.event_time_utc < alert.ended_at_utc)
    group by line.store_id, line.transaction_id, line.line_no

)

select
    line.store_id,
    line.storage,
    line.currency,
    sum(line.net_amount) as sold,
    sum(case when at_risk.line_no is not null then line.net_amount else 0 end) as sold_while_too_warm,
    count(distinct case when at_risk.line_no is not null then line.transaction_id end) as receipts_while_too_warm
from kept_cold as line
left join at_risk
    on line.store_id = at_risk.store_id
    and line.transaction_id = at_risk.transaction_id
    and line.line_no = at_risk.line_no
group by line.store_id, line.storage, line.currency
order by sold_while_too_warm desc, line.store_id, line.storage
