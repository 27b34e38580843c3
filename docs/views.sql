-- The outputs of a run as views for DuckDB: `duckdb -init views.sql` beside the folder `out`.
-- Another folder: put  SET VARIABLE folder = '/data/pumps/out';  before this file.
-- Another threshold of the confusion table:  SET VARIABLE threshold = 0.2;

SET TimeZone = 'UTC';
SET VARIABLE folder = coalesce(getvariable('folder'), 'out');
SET VARIABLE threshold = coalesce(getvariable('threshold'), 0.5);

CREATE OR REPLACE VIEW predictions AS
SELECT * FROM read_json(
    getvariable('folder') || '/predictions*.jsonl',
    format = 'newline_delimited',
    columns = {
        id: 'VARCHAR', asset: 'VARCHAR', target: 'VARCHAR', time: 'TIMESTAMPTZ', score: 'DOUBLE', model: 'VARCHAR',
        version: 'BIGINT', link: 'VARCHAR', revision: 'BIGINT', sequence: 'BIGINT', arrival: 'TIMESTAMPTZ'
    }
);

CREATE OR REPLACE VIEW evaluations AS
SELECT * FROM read_json(
    getvariable('folder') || '/evaluations*.jsonl',
    format = 'newline_delimited',
    columns = {
        id: 'VARCHAR', asset: 'VARCHAR', target: 'VARCHAR', time: 'TIMESTAMPTZ', label: 'VARCHAR', why: 'VARCHAR',
        matured: 'TIMESTAMPTZ', known: 'TIMESTAMPTZ', lead: 'DOUBLE', champion: 'VARCHAR',
        scores: 'MAP(VARCHAR, DOUBLE)', correction: 'BIGINT', sequence: 'BIGINT'
    }
);

CREATE OR REPLACE VIEW alert_rows AS
SELECT * FROM read_json(
    getvariable('folder') || '/alerts*.jsonl',
    format = 'newline_delimited',
    columns = {
        id: 'VARCHAR', asset: 'VARCHAR', target: 'VARCHAR', state: 'VARCHAR', why: 'VARCHAR', opened: 'TIMESTAMPTZ',
        time: 'TIMESTAMPTZ', score: 'DOUBLE', threshold: 'DOUBLE', sequence: 'BIGINT'
    }
);

-- The horizon at the end of a target's name: 'truck/leak/48h' has 48 hours.
CREATE OR REPLACE MACRO horizon(target) AS
    CAST(regexp_extract(target, '(\d+)[smhd]$', 1) AS INTEGER)
    * CASE right(target, 1)
        WHEN 's' THEN INTERVAL 1 SECOND WHEN 'm' THEN INTERVAL 1 MINUTE
        WHEN 'h' THEN INTERVAL 1 HOUR ELSE INTERVAL 24 HOUR
    END;

-- The latest score of every asset and target, the highest first. Late data may have revised it.
CREATE OR REPLACE VIEW latest_scores AS
SELECT asset, target, arg_max(score, (time, revision)) AS score, arg_max(model, (time, revision)) AS model,
    max(time) AS time
FROM predictions
GROUP BY asset, target
ORDER BY score DESC;

-- The label of every example as it stands now: the last row of each.
CREATE OR REPLACE VIEW labels AS
SELECT * FROM evaluations QUALIFY row_number() OVER (PARTITION BY id ORDER BY correction DESC) = 1;

-- The champion's scores against the labels, by week of the example.
CREATE OR REPLACE VIEW confusion_by_week AS
SELECT target, date_trunc('week', time) AS week,
    count(*) FILTER (label = 'positive' AND warned) AS true_positives,
    count(*) FILTER (label = 'negative' AND warned) AS false_positives,
    count(*) FILTER (label = 'positive' AND NOT warned) AS false_negatives,
    count(*) FILTER (label = 'negative' AND NOT warned) AS true_negatives
FROM (SELECT *, scores[champion] >= getvariable('threshold') AS warned FROM labels)
WHERE label IN ('positive', 'negative')
GROUP BY target, week
ORDER BY target, week;

-- One row an alert: when it opened and cleared, its highest score, whether a failure followed, and the hours to it.
CREATE OR REPLACE VIEW alerts AS
WITH failures AS (
    SELECT DISTINCT asset, target, time + to_microseconds(CAST(round(lead * 3600000000) AS BIGINT)) AS failed
    FROM labels WHERE label = 'positive'
), decided AS (
    SELECT asset, target, max(matured) AS until FROM evaluations GROUP BY asset, target
), lives AS (
    SELECT id, any_value(asset) AS asset, any_value(target) AS target, any_value(opened) AS opened,
        max(time) FILTER (state = 'cleared') AS cleared, max(why) FILTER (state = 'cleared') AS why,
        max(score) AS score
    FROM alert_rows GROUP BY id
), reaches AS (
    SELECT *, opened + horizon(target) AS ends,
        CASE WHEN why = 'failure' THEN greatest(opened + horizon(target), cleared) ELSE opened + horizon(target) END
            AS reach
    FROM lives
)
SELECT id, reaches.asset, reaches.target, opened, cleared, why, score,
    CASE WHEN min(failed) IS NOT NULL THEN 'failure' WHEN any_value(until) >= any_value(ends) THEN 'none'
        ELSE 'unknown' END AS outcome,
    epoch_us(min(failed) - opened) / 3600000000 AS lead
FROM reaches
LEFT JOIN failures ON failures.asset = reaches.asset AND failures.target = reaches.target
    AND failed > opened AND failed <= reach
LEFT JOIN decided ON decided.asset = reaches.asset AND decided.target = reaches.target
GROUP BY id, reaches.asset, reaches.target, opened, cleared, why, score
ORDER BY opened;
