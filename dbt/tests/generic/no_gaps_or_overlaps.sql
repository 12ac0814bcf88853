{#- Versions of one key follow each other: each begins where the one before ends. -#}
{% test no_gaps_or_overlaps(model, key) %}
select *
from (
    select
        {{ key | join(', ') }},
        valid_from_utc,
        lag(valid_to_utc) over (partition by {{ key | join(', ') }} order by valid_from_utc) as previous_to_utc
    from {{ model }}
) as versions
where previous_to_utc is not null and previous_to_utc <> valid_from_utc
{% endtest %}
