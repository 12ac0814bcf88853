{#- Instants in gold are TIMESTAMP without zone, always UTC, and end in _utc. -#}

{#- Something as an instant: a text that says one, null, or a TIMESTAMP. -#}
{% macro instant(value) %}cast({{ value }} as {{ adapter.dispatch('instant_type')() }}){% endmacro %}

{% macro default__instant_type() %}timestamp{% endmacro %}

{#- Iceberg holds microseconds, and Athena's takes nothing else; TIMESTAMP alone would be milliseconds there. -#}
{% macro athena__instant_type() %}timestamp(6){% endmacro %}

{% macro day(text) %}cast('{{ text }}' as date){% endmacro %}

{% macro time_begins() %}{{ instant("'1900-01-01 00:00:00'") }}{% endmacro %}

{% macro time_ends() %}{{ instant("'9999-12-31 00:00:00'") }}{% endmacro %}


{% macro utc(stamp) %}{{ return(adapter.dispatch('utc')(stamp)) }}{% endmacro %}

{#- Warehouses that hold silver's instants as UTC already. -#}
{% macro default__utc(stamp) %}{{ instant(stamp) }}{% endmacro %}

{#- delta_scan gives TIMESTAMP WITH TIME ZONE. -#}
{% macro duckdb__utc(stamp) %}({{ stamp }} at time zone 'UTC'){% endmacro %}


{#- A row's partition of silver. Its column stands in no Parquet file, so COPY brings none into Redshift. -#}
{% macro event_date() %}{{ return(adapter.dispatch('event_date')()) }}{% endmacro %}

{% macro default__event_date() %}event_date{% endmacro %}

{% macro redshift__event_date() %}cast(event_time as date){% endmacro %}


{#- Wall-clock time in a zone (IANA name) of a UTC instant. -#}
{% macro local_time(instant_utc, zone) %}{{ return(adapter.dispatch('local_time')(instant_utc, zone)) }}{% endmacro %}

{% macro default__local_time(instant_utc, zone) %}convert_timezone('UTC', {{ zone }}, {{ instant_utc }}){% endmacro %}

{% macro duckdb__local_time(instant_utc, zone) %}(({{ instant_utc }} at time zone 'UTC') at time zone {{ zone }}){% endmacro %}

{% macro athena__local_time(instant_utc, zone) -%}
cast(at_timezone(with_timezone({{ instant_utc }}, 'UTC'), {{ zone }}) as timestamp(6))
{%- endmacro %}


{#- UTC instant of a wall-clock time in a zone. -#}
{% macro local_to_utc(local, zone) %}{{ return(adapter.dispatch('local_to_utc')(local, zone)) }}{% endmacro %}

{% macro default__local_to_utc(local, zone) %}convert_timezone({{ zone }}, 'UTC', {{ local }}){% endmacro %}

{% macro duckdb__local_to_utc(local, zone) %}((cast({{ local }} as timestamp) at time zone {{ zone }}) at time zone 'UTC'){% endmacro %}

{% macro athena__local_to_utc(local, zone) -%}
cast(at_timezone(with_timezone(cast({{ local }} as timestamp(6)), {{ zone }}), 'UTC') as timestamp(6))
{%- endmacro %}


{#- UTC instant at which a business date begins; the day after's is where it ends, 23, 24 or 25 hours later. -#}
{% macro day_start_utc(business_date, zone) %}{{ local_to_utc('cast(' ~ business_date ~ ' as timestamp)', zone) }}{% endmacro %}

{% macro next_date(business_date) %}cast({{ dbt.dateadd('day', 1, business_date) }} as date){% endmacro %}

{% macro day_end_utc(business_date, zone) %}{{ day_start_utc(next_date(business_date), zone) }}{% endmacro %}


{#- DECIMAL seconds from one instant to a later one. -#}
{% macro seconds_between(earlier, later) -%}
cast({{ dbt.datediff(earlier, later, 'millisecond') }} * 0.001 as decimal(18, 3))
{%- endmacro %}

{#- DECIMAL minutes of DECIMAL seconds, to a hundredth. -#}
{% macro minutes(seconds) -%}
cast(round({{ quotient(seconds, '60') }}, 2) as decimal(18, 2))
{%- endmacro %}


{% macro local_date(instant_utc, zone) %}cast({{ local_time(instant_utc, zone) }} as date){% endmacro %}

{#- business_date and local_hour of a UTC instant, as every fact has them. -#}
{% macro business_time(instant_utc, zone) -%}
{{ local_date(instant_utc, zone) }} as business_date,
    cast(extract(hour from {{ local_time(instant_utc, zone) }}) as integer) as local_hour
{%- endmacro %}


{#- The UTC instant at which the local hour of an instant began: right in zones with half hours, and the hour that the
    clock shows twice in autumn stays two hours. -#}
{% macro hour_start_utc(instant_utc, zone) %}{{ hour_start_by(instant_utc, local_time(instant_utc, zone)) }}{% endmacro %}

{#- The same, where the instant's wall-clock time is known. -#}
{% macro hour_start_by(instant_utc, local) %}{{ return(adapter.dispatch('hour_start_by')(instant_utc, local)) }}{% endmacro %}

{% macro default__hour_start_by(instant_utc, local) -%}
{%- set since = dbt.datediff("date_trunc('hour', " ~ local ~ ")", local, 'millisecond') -%}
{{ dbt.dateadd('millisecond', 'cast(-' ~ since ~ ' as integer)', instant_utc) }}
{%- endmacro %}

{% macro duckdb__hour_start_by(instant_utc, local) -%}
{{ instant_utc }} - ({{ local }} - date_trunc('hour', {{ local }}))
{%- endmacro %}

{#- mon to sun, as the contract `stores` has them. 5 January 1970 was a Monday; EXTRACT(DOW) counts from another day in
    Athena than elsewhere. -#}
{% macro weekday(business_date) -%}
case mod({{ dbt.datediff("cast('1970-01-05' as date)", business_date, 'day') }}, 7)
        {%- for day in ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] %} when {{ loop.index0 }} then '{{ day }}'{% endfor %}
    end
{%- endmacro %}

{#- UTC instant of a local time HH:MM on a date; 24:00 is the midnight after. -#}
{% macro time_of_day_utc(business_date, hh_mm, zone) -%}
{%- set minute -%}
cast(substring({{ hh_mm }}, 1, 2) as integer) * 60 + cast(substring({{ hh_mm }}, 4, 2) as integer)
{%- endset -%}
{{ local_to_utc(dbt.dateadd('minute', minute, 'cast(' ~ business_date ~ ' as timestamp)'), zone) }}
{%- endmacro %}

{#- DECIMAL seconds that two spans of time have in common, 0 where they have none. -#}
{% macro seconds_in_both(one_from, one_to, other_from, other_to) -%}
case
        when {{ one_from }} < {{ other_to }} and {{ other_from }} < {{ one_to }}
            then {{ seconds_between('greatest(' ~ one_from ~ ', ' ~ other_from ~ ')', 'least(' ~ one_to ~ ', ' ~ other_to ~ ')') }}
        else 0
    end
{%- endmacro %}

{#- Query: open_s, for how long the store was open in each of the hours. hours: a CTE with store_id, business_date and
    hour_start_utc; only: condition on its rows. -#}
{% macro seconds_open(hours, only=none) -%}
select
        hours.store_id,
        hours.hour_start_utc,
        sum({{ seconds_in_both('hours.hour_start_utc', dbt.dateadd('hour', 1, 'hours.hour_start_utc'), 'span.opens_utc', 'span.closes_utc') }})
            as open_s
    from (
        select distinct store_id, business_date, hour_start_utc
        from {{ hours }}
        {%- if only %}
        where {{ only }}
        {%- endif %}
    ) as hours
    inner join {{ ref('int_open_span') }} as span
        on hours.store_id = span.store_id
        and hours.business_date = span.business_date
    group by hours.store_id, hours.hour_start_utc
{%- endmacro %}
