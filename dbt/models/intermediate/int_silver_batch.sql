{%- set known = as_it_was('int_silver_read') -%}
-- One look at silver decides what is new in this run, whatever is written to it while the run goes on. What a batch has of
-- a day is new again where it has another number of rows than were read, unless that day has expired.
with there as (

    {%- for source in silver_tables() %}
    select
        '{{ source }}' as source,
        {{ kept_stamp('loaded_at') }} as loaded_at,
        event_date,
        cast(count(*) as bigint) as row_count
    from {{ ref(source) }}
    where event_date >= (select kept_from from {{ ref('int_first_kept') }} where source = '{{ source }}')
    group by loaded_at, event_date
    {{ 'union all' if not loop.last }}
    {%- endfor %}

)

select there.source, there.loaded_at, there.event_date, there.row_count
from there
{%- if known and not refreshes() %}
left join {{ known }} as known
    on there.source = known.source
    and there.loaded_at = known.loaded_at
    and there.event_date = known.event_date
    and there.row_count = known.row_count
where known.source is null
{%- endif %}
