{%- set known = as_it_was('int_silver_read') -%}
-- One look at silver decides what is new in this run, whatever is written to it while the run goes on. It comes before
-- staging, so that staging's tests go by it, too. What a batch has of a day is new again where it has another number of
-- rows than were read, unless that day has expired.
{%- set reads_on = known and not refreshes() %}
with there as (

    {%- for name, table in silver_tables().items() %}
    select
        '{{ name }}' as source,
        loaded_at,
        event_date,
        cast(count(*) as bigint) as row_count
    from (
        select {{ kept_stamp('loaded_at') }} as loaded_at, {{ event_date() }} as event_date
        from {{ source('silver', table) }}
    ) as received
    where event_date >= (select kept_from from {{ ref('int_first_kept') }} where source = '{{ name }}')
    group by loaded_at, event_date
    {{ 'union all' if not loop.last }}
    {%- endfor %}

){{ ',' if reads_on }}
{%- if reads_on %}

read_before as (

    select known.source, known.loaded_at, known.event_date, known.row_count
    from {{ known }} as known
    inner join {{ ref('int_first_kept') }} as kept
        on known.source = kept.source
        and known.event_date >= kept.kept_from

)

select
    coalesce(there.source, read_before.source) as source,
    coalesce(there.loaded_at, read_before.loaded_at) as loaded_at,
    coalesce(there.event_date, read_before.event_date) as event_date,
    coalesce(there.row_count, 0) as row_count,
    coalesce(read_before.row_count, 0) as read_before
from there
full outer join read_before
    on there.source = read_before.source
    and there.loaded_at = read_before.loaded_at
    and there.event_date = read_before.event_date
where coalesce(there.row_count, 0) <> coalesce(read_before.row_count, 0)
{%- else %}

select source, loaded_at, event_date, row_count, cast(0 as bigint) as read_before
from there
{%- endif %}
