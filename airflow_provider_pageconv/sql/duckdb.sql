-- Views for DuckDB on a data set of PageConversationsToObjectStorageOperator:
--
--   exports                what each manifest says: one row for each published window of a folder
--   gaps                   windows that are missing between two published ones of a folder
--   conversations_current  each conversation once, in the state that was fetched last
--   messages               each message once
--   attachments            each attachment of a message, with its link and when that ends
--   participants           each person of a Page, with when they were seen and under what name
--   response_times         each turn: what somebody wrote before the Page answered, and how long that took
--
-- And records_of_person('1403689654214327'): each published record in which the id of a person stands.
--
-- First SET VARIABLE root = '/data/pages' or 's3://bucket/pages', or let airflow_provider_pageconv.sql.views() do so.
-- All is temporary, and goes by the manifests as they were when this ran: run it again to see what was published since, and
-- where a query finds a file gone, which is what happens to those of an export that was replaced.

SET VARIABLE pageconv_root = rtrim(coalesce(
    getvariable('root')::VARCHAR,
    error('No data set is named: SET VARIABLE root = ''/data/pages'' first.')
), '/');

-- ---- texts and times

-- An API that cuts a text after so many characters cuts emoji in halves. Such a half is written as an escape (\ud83d), the only
-- escapes of this kind, and DuckDB takes no JSON that has one: it becomes a replacement character. Double backslashes are
-- put out of the way first, for what follows them is no escape. JSON itself has no raw control characters.
CREATE OR REPLACE TEMP MACRO pageconv_json(line) AS
    CASE WHEN regexp_matches(line, '\\u[dD][89a-fA-F]') THEN
        replace(
            regexp_replace(replace(line, '\\', chr(1)), '\\u[dD][89a-fA-F][0-9a-fA-F]{2}', chr(65533), 'g'),
            chr(1), '\\')
    ELSE line END;

-- ISO 8601 with any offset and fraction, and what names no offset is in UTC, whatever the session's zone.
CREATE OR REPLACE TEMP MACRO pageconv_iso(text) AS
    CASE WHEN text LIKE '____-__-__T__:__:__Z' OR text LIKE '____-__-__T__:__:__.___Z' THEN TRY_CAST(text AS TIMESTAMPTZ) ELSE [
        TRY_CAST(concat(
            p.y, '-', p.mo, '-', p.d, ' ', p.h, ':', p.mi, ':', coalesce(nullif(p.s, ''), '00'), '.', p.f[:6], '0',
            coalesce(nullif(p.zh, ''), '+00'), ':', coalesce(nullif(p.zm, ''), '00')
        ) AS TIMESTAMPTZ)
        FOR p IN [regexp_extract(
            text,
            '^\s*(\d{4})-?(\d\d)-?(\d\d)[T ](\d\d):?(\d\d)(?::?(\d\d)(?:[.,](\d{1,9}))?)?\s?(?:[Zz]|([+-](?:[01]\d|2[0-3])):?([0-5]\d)?)?\s*$',
            ['y', 'mo', 'd', 'h', 'mi', 's', 'f', 'zh', 'zm']
        )]
    ][1] END;

-- A time in any form that the API was seen to use: as above, or seconds or milliseconds since 1970, as a number or as text.
-- The export counts one that lies before 2004, or more than a day ahead, as none, and so do we.
CREATE OR REPLACE TEMP MACRO pageconv_time(text, fetched_at) AS
    [
        CASE WHEN read BETWEEN TIMESTAMPTZ '2004-01-01 00:00:00+00' AND fetched_at::TIMESTAMPTZ + INTERVAL 1 DAY THEN read END
        FOR read IN [
            CASE
                WHEN text LIKE '____-__-__T__:__:__+0000' THEN TRY_CAST(text AS TIMESTAMPTZ)
                WHEN regexp_full_match(text, '\s*\d{9,14}(\.\d+)?\s*') THEN
                    to_timestamp(TRY_CAST(text AS DOUBLE) / CASE WHEN TRY_CAST(text AS DOUBLE) >= 1e11 THEN 1000 ELSE 1 END)
                ELSE pageconv_iso(text)
            END
        ]
    ][1];

-- ---- what the manifests say

-- Names of files are patterns too: characters of the root's own name that mean something in them are put in brackets.
CREATE OR REPLACE TEMP MACRO pageconv_pattern(name) AS regexp_replace(name, '[*?\[]', '[\0]', 'g');

SET VARIABLE pageconv_manifests = (
    SELECT list(pageconv_pattern(file) ORDER BY file)
    FROM glob(pageconv_pattern(getvariable('pageconv_root')) || '/_manifests/platform=*/page_id=*/folder=*/window=*.json'));

-- DuckDB reads no empty list of files: then something empty is asked in its place.
SET VARIABLE pageconv_read_manifests = CASE
    WHEN getvariable('pageconv_manifests') IS NULL THEN 'SELECT '''' AS filename, '''' AS content WHERE false'
    ELSE 'SELECT filename, content FROM read_text(getvariable(''pageconv_manifests''))'
END;

CREATE OR REPLACE TEMP TABLE pageconv_manifests AS
WITH texts AS (
    SELECT filename, pageconv_json(content) AS content FROM query(getvariable('pageconv_read_manifests'))
),
parsed AS (
    SELECT
        regexp_extract(filename, '/_manifests/.*$')[2:] AS manifest,
        regexp_extract(filename, '/window=([^/]*)\.json$', 1) AS window_name,
        CASE WHEN json_valid(content) THEN json_transform(content, '{
            "manifest_version": "INTEGER", "platform": "VARCHAR", "page_id": "VARCHAR", "folder": "VARCHAR", "user_id": "VARCHAR",
            "since": "VARCHAR", "until": "VARCHAR", "started_at": "VARCHAR", "finished_at": "VARCHAR",
            "conversations": "BIGINT", "messages": "BIGINT", "messages_expected": "BIGINT",
            "messages_unavailable": "BIGINT", "messages_undated": "BIGINT",
            "conversations_unavailable": "BIGINT", "conversations_incomplete": "BIGINT",
            "conversations_carried": "BIGINT", "messages_carried": "BIGINT", "messages_gone": "BIGINT",
            "files": [{"path": "VARCHAR", "stream": "VARCHAR", "records": "BIGINT", "bytes": "BIGINT", "sha256": "VARCHAR"}],
            "file_format": "VARCHAR", "compression": "VARCHAR", "schema_version": "INTEGER", "export_id": "VARCHAR",
            "run_key": "JSON", "fields": "JSON", "graph_version": "VARCHAR", "api_calls": "BIGINT", "waited_seconds": "DOUBLE",
            "warnings": ["VARCHAR"], "provider_version": "VARCHAR", "erased_at": "VARCHAR", "retained_since": "VARCHAR"
        }') END AS says
    FROM texts
)
SELECT manifest, window_name, says, pageconv_iso(says.since) AS since, pageconv_iso(says.until) AS until
FROM parsed
-- Better no answer than one in which a window is missing.
WHERE CASE
    WHEN says.files IS NULL THEN error('The manifest ' || manifest || ' cannot be read.')
    WHEN says.manifest_version IS DISTINCT FROM 1 OR NOT coalesce(
        says.file_format = 'jsonl' OR (says.file_format = 'parquet' AND says.schema_version = 1), false
    ) THEN
        error(concat(
            'The manifest ', manifest, ' is of version ', coalesce(says.manifest_version::VARCHAR, 'unknown'), ' and names files of format ',
            coalesce(says.file_format, 'unknown'), coalesce(' with columns of version ' || says.schema_version::VARCHAR, ''),
            ', which these views do not know: take those of the provider that wrote it.'))
    ELSE true
END;

CREATE OR REPLACE TEMP VIEW exports AS
SELECT
    says.platform, says.page_id, says.folder, window_name, says.user_id, since, until,
    -- What is missing before it, since the window before this one ended; NULL where nothing is, or nothing was before it.
    CASE WHEN since > lag(until) OVER folder_windows THEN since - lag(until) OVER folder_windows END AS gap_before,
    says.conversations, says.messages, says.messages_expected, says.messages_unavailable, says.messages_undated,
    says.conversations_unavailable, says.conversations_incomplete,
    says.conversations_carried, says.messages_carried, says.messages_gone,
    len(says.files) AS files, coalesce(list_sum([file.bytes FOR file IN says.files]), 0)::BIGINT AS bytes,
    says.file_format, says.compression, says.export_id, says.run_key, says.fields, says.graph_version, says.api_calls,
    says.waited_seconds, pageconv_iso(says.started_at) AS started_at, pageconv_iso(says.finished_at) AS finished_at,
    pageconv_iso(says.erased_at) AS erased_at, pageconv_iso(says.retained_since) AS retained_since,
    says.warnings, says.provider_version, manifest
FROM pageconv_manifests
WINDOW folder_windows AS (PARTITION BY says.platform, says.page_id, says.folder ORDER BY until)
ORDER BY says.platform, says.page_id, says.folder, until;

CREATE OR REPLACE TEMP VIEW gaps AS
SELECT platform, page_id, folder, since - gap_before AS since, since AS until, gap_before AS missing
FROM exports
WHERE gap_before IS NOT NULL
ORDER BY platform, page_id, folder, since;

-- ---- the streams, record by record

CREATE OR REPLACE TEMP MACRO pageconv_files(wanted, wanted_format) AS (
    SELECT list(pageconv_pattern(getvariable('pageconv_root')) || '/' || file.path ORDER BY file.path)
    FROM (SELECT says.file_format AS file_format, unnest(says.files) AS file FROM pageconv_manifests)
    WHERE file.stream = wanted AND file_format = wanted_format);

SET VARIABLE pageconv_conversation_files = pageconv_files('conversations', 'jsonl');
SET VARIABLE pageconv_message_files = pageconv_files('messages', 'jsonl');
SET VARIABLE pageconv_conversation_tables = pageconv_files('conversations', 'parquet');
SET VARIABLE pageconv_message_tables = pageconv_files('messages', 'parquet');

-- Lines of JSON are read as lines, so that no shape of any value can stop the reader; what parts the columns of this
-- one-column table stands in no JSON.
CREATE OR REPLACE TEMP MACRO pageconv_reading(variable) AS CASE
    WHEN getvariable(variable) IS NULL THEN 'SELECT '''' AS line, '''' AS filename WHERE false'
    ELSE 'SELECT line, filename FROM read_csv(getvariable(''' || variable || '''), columns = {''line'': ''VARCHAR''}, '
        'auto_detect = false, header = false, delim = ''' || chr(1) || ''', quote = '''', escape = '''', new_line = ''\n'', '
        'max_line_size = 16777216, filename = true, hive_partitioning = false)'
END;

SET VARIABLE pageconv_read_conversations = pageconv_reading('pageconv_conversation_files');
SET VARIABLE pageconv_read_messages = pageconv_reading('pageconv_message_files');

-- Of a row of Parquet the line is made that JSON Lines would have, as docs/schema.md says: what is null is not there, and what
-- stands in _extra counts. Rows that have nothing there, as a rule all of them, need it for the column record alone.
CREATE OR REPLACE TEMP MACRO pageconv_raw(name, json) AS '"' || name || '":' || json;
CREATE OR REPLACE TEMP MACRO pageconv_member(name, value) AS '"' || name || '":' || to_json(value);
CREATE OR REPLACE TEMP MACRO pageconv_edge(items) AS '{"data":[' || array_to_string(items, ',') || ']}';

CREATE OR REPLACE TEMP MACRO pageconv_person(o) AS CASE WHEN o IS NOT NULL THEN '{' || concat_ws(',',
    pageconv_member('id', o.id), pageconv_member('name', o.name), pageconv_member('email', o.email),
    pageconv_member('username', o.username)
) || '}' END;

CREATE OR REPLACE TEMP MACRO pageconv_people(people) AS pageconv_edge([pageconv_person(o) FOR o IN people]);

CREATE OR REPLACE TEMP MACRO pageconv_image(o) AS CASE WHEN o IS NOT NULL THEN '{' || concat_ws(',',
    pageconv_member('width', o.width), pageconv_member('height', o.height), pageconv_member('max_width', o.max_width),
    pageconv_member('max_height', o.max_height), pageconv_member('url', o.url), pageconv_member('preview_url', o.preview_url),
    pageconv_member('animated_gif_url', o.animated_gif_url),
    pageconv_member('animated_gif_preview_url', o.animated_gif_preview_url), pageconv_member('image_type', o.image_type),
    pageconv_member('render_as_sticker', o.render_as_sticker)
) || '}' END;

CREATE OR REPLACE TEMP MACRO pageconv_video(o) AS CASE WHEN o IS NOT NULL THEN '{' || concat_ws(',',
    pageconv_member('width', o.width), pageconv_member('height', o.height), pageconv_member('length', o.length),
    pageconv_member('video_type', o.video_type), pageconv_member('url', o.url), pageconv_member('preview_url', o.preview_url),
    pageconv_member('rotation', o.rotation)
) || '}' END;

CREATE OR REPLACE TEMP MACRO pageconv_template(o) AS CASE WHEN o IS NOT NULL THEN '{' || concat_ws(',',
    pageconv_member('title', o.title), pageconv_member('subtitle', o.subtitle), pageconv_member('media_url', o.media_url),
    pageconv_raw('cta', o.cta)
) || '}' END;

CREATE OR REPLACE TEMP MACRO pageconv_attachment(o) AS CASE WHEN o IS NOT NULL THEN '{' || concat_ws(',',
    pageconv_member('id', o.id), pageconv_member('type', o.type), pageconv_member('name', o.name),
    pageconv_member('title', o.title), pageconv_member('mime_type', o.mime_type), pageconv_member('size', o.size),
    pageconv_member('url', o.url), pageconv_member('file_url', o.file_url),
    pageconv_raw('image_data', pageconv_image(o.image_data)), pageconv_raw('video_data', pageconv_video(o.video_data)),
    pageconv_raw('generic_template', pageconv_template(o.generic_template))
) || '}' END;

CREATE OR REPLACE TEMP MACRO pageconv_share(o) AS CASE WHEN o IS NOT NULL THEN '{' || concat_ws(',',
    pageconv_member('id', o.id), pageconv_member('type', o.type), pageconv_member('url', o.url),
    pageconv_member('title', o.title), pageconv_member('link', o.link), pageconv_member('name', o.name),
    pageconv_member('description', o.description), pageconv_raw('template', o.template)
) || '}' END;

CREATE OR REPLACE TEMP MACRO pageconv_reaction(o) AS CASE WHEN o IS NOT NULL THEN '{' || concat_ws(',',
    pageconv_member('reaction', o.reaction), pageconv_member('emoji', o.emoji),
    pageconv_raw('users', '[' || array_to_string([pageconv_person(p) FOR p IN o.users], ',') || ']')
) || '}' END;

CREATE OR REPLACE TEMP MACRO pageconv_told_by(o) AS CASE WHEN o IS NOT NULL THEN '{' || concat_ws(',',
    pageconv_member('link', o.link), pageconv_member('id', o.id)
) || '}' END;

CREATE OR REPLACE TEMP MACRO pageconv_story(o) AS CASE WHEN o IS NOT NULL THEN '{' || concat_ws(',',
    pageconv_raw('mention', pageconv_told_by(o.mention)), pageconv_raw('reply_to', pageconv_told_by(o.reply_to))
) || '}' END;

CREATE OR REPLACE TEMP MACRO pageconv_reply(o) AS CASE WHEN o IS NOT NULL THEN '{' || concat_ws(',',
    pageconv_member('mid', o.mid), pageconv_member('is_self_reply', o.is_self_reply)
) || '}' END;

CREATE OR REPLACE TEMP MACRO pageconv_group(o) AS CASE WHEN o IS NOT NULL THEN '{' || concat_ws(',',
    pageconv_member('id', o.id), pageconv_member('name', o.name)
) || '}' END;

CREATE OR REPLACE TEMP MACRO pageconv_tags(tags) AS pageconv_edge(['{' || pageconv_member('name', o) || '}' FOR o IN tags]);
CREATE OR REPLACE TEMP MACRO pageconv_attachments(items) AS pageconv_edge([pageconv_attachment(o) FOR o IN items]);
CREATE OR REPLACE TEMP MACRO pageconv_shares(items) AS pageconv_edge([pageconv_share(o) FOR o IN items]);
CREATE OR REPLACE TEMP MACRO pageconv_reactions(items) AS pageconv_edge([pageconv_reaction(o) FOR o IN items]);

-- Of a value that stands in _extra nothing is taken from its column.
CREATE OR REPLACE TEMP MACRO pageconv_unless(extra, name, json) AS
    CASE WHEN extra IS NULL OR NOT list_contains(extra, name) THEN pageconv_raw(name, json) END;

CREATE OR REPLACE TEMP MACRO pageconv_moment(moment, form) AS to_json(strftime(make_timestamp(epoch_us(moment::TIMESTAMPTZ)), form));

CREATE OR REPLACE TEMP MACRO pageconv_ours(r, extra) AS concat_ws(',',
    pageconv_unless(extra, '_page_id', to_json(r._page_id)), pageconv_unless(extra, '_platform', to_json(r._platform)),
    pageconv_unless(extra, '_folder', to_json(r._folder)),
    pageconv_unless(extra, '_fetched_at', pageconv_moment(r._fetched_at, '%Y-%m-%dT%H:%M:%S.%gZ')),
    pageconv_unless(extra, '_export_id', to_json(r._export_id)),
    pageconv_unless(extra, '_unavailable', to_json(r._unavailable)),
    pageconv_unless(extra, '_carried', to_json(r._carried)), r._extra[2:-2]
);

CREATE OR REPLACE TEMP MACRO pageconv_conversation_line(r, extra) AS '{' || concat_ws(',',
    pageconv_unless(extra, 'id', to_json(r.id)),
    pageconv_unless(extra, 'updated_time', pageconv_moment(r.updated_time, '%Y-%m-%dT%H:%M:%S+0000')),
    pageconv_unless(extra, 'message_count', to_json(r.message_count)),
    pageconv_unless(extra, 'unread_count', to_json(r.unread_count)), pageconv_unless(extra, 'snippet', to_json(r.snippet)),
    pageconv_unless(extra, 'name', to_json(r.name)), pageconv_unless(extra, 'link', to_json(r.link)),
    pageconv_unless(extra, 'scoped_thread_key', to_json(r.scoped_thread_key)),
    pageconv_unless(extra, 'can_reply', to_json(r.can_reply)), pageconv_unless(extra, 'is_owner', to_json(r.is_owner)),
    pageconv_unless(extra, 'is_subscribed', to_json(r.is_subscribed)),
    pageconv_unless(extra, 'participants', pageconv_people(r.participants)),
    pageconv_unless(extra, 'former_participants', pageconv_people(r.former_participants)),
    pageconv_unless(extra, 'senders', pageconv_people(r.senders)),
    pageconv_unless(extra, 'linked_group', pageconv_group(r.linked_group)),
    pageconv_unless(extra, 'wallpaper', to_json(r.wallpaper)), pageconv_ours(r, extra)
) || '}';

CREATE OR REPLACE TEMP MACRO pageconv_message_line(r, extra) AS '{' || concat_ws(',',
    pageconv_unless(extra, 'id', to_json(r.id)), pageconv_unless(extra, '_conversation_id', to_json(r._conversation_id)),
    pageconv_unless(extra, 'created_time', pageconv_moment(r.created_time, '%Y-%m-%dT%H:%M:%S+0000')),
    pageconv_unless(extra, 'from', pageconv_person(r."from")), pageconv_unless(extra, 'to', pageconv_people(r."to")),
    pageconv_unless(extra, 'message', to_json(r.message)),
    pageconv_unless(extra, 'tags', pageconv_tags(r.tags)),
    pageconv_unless(extra, 'attachments', pageconv_attachments(r.attachments)),
    pageconv_unless(extra, 'shares', pageconv_shares(r.shares)),
    pageconv_unless(extra, 'sticker', to_json(r.sticker)), pageconv_unless(extra, 'story', pageconv_story(r.story)),
    pageconv_unless(extra, 'reactions', pageconv_reactions(r.reactions)),
    pageconv_unless(extra, 'is_unsupported', to_json(r.is_unsupported)),
    pageconv_unless(extra, 'reply_to', pageconv_reply(r.reply_to)), pageconv_ours(r, extra)
) || '}';

CREATE OR REPLACE TEMP MACRO pageconv_table(variable) AS
    ' FROM read_parquet(getvariable(''' || variable || '''), filename = true, hive_partitioning = false) AS r ';

CREATE OR REPLACE TEMP MACRO pageconv_reading_rows(variable, line) AS CASE
    WHEN getvariable(variable) IS NULL THEN 'SELECT '''' AS line, '''' AS filename WHERE false'
    ELSE 'SELECT ' || line || '(r, json_keys(pageconv_json(r._extra))) AS line, r.filename AS filename' || pageconv_table(variable)
        || 'WHERE r._extra IS NOT NULL'
END;

SET VARIABLE pageconv_read_conversation_rows = pageconv_reading_rows('pageconv_conversation_tables', 'pageconv_conversation_line');
SET VARIABLE pageconv_read_message_rows = pageconv_reading_rows('pageconv_message_tables', 'pageconv_message_line');

CREATE OR REPLACE TEMP VIEW pageconv_conversation_lines AS
WITH lines AS (
    SELECT pageconv_json(line) AS line, filename FROM query(getvariable('pageconv_read_conversations'))
    UNION ALL
    SELECT pageconv_json(line) AS line, filename FROM query(getvariable('pageconv_read_conversation_rows'))
),
nodes AS (
    SELECT line, filename, json_transform(line, '{
        "id": "VARCHAR", "updated_time": "VARCHAR", "message_count": "BIGINT", "unread_count": "BIGINT", "snippet": "VARCHAR",
        "name": "VARCHAR", "link": "VARCHAR", "scoped_thread_key": "VARCHAR", "can_reply": "BOOLEAN", "is_owner": "BOOLEAN",
        "is_subscribed": "BOOLEAN", "participants": "JSON", "former_participants": "JSON", "senders": "JSON",
        "linked_group": "JSON", "wallpaper": "JSON",
        "_platform": "VARCHAR", "_page_id": "VARCHAR", "_folder": "VARCHAR", "_fetched_at": "VARCHAR", "_export_id": "VARCHAR",
        "_unavailable": "BOOLEAN", "_carried": "BOOLEAN"
    }') AS node
    FROM lines
)
SELECT
    node.id, pageconv_time(node.updated_time, pageconv_iso(node._fetched_at)) AS updated_time,
    node.message_count, node.unread_count, node.snippet, node.name, node.link, node.scoped_thread_key,
    node.can_reply, node.is_owner, node.is_subscribed,
    node.participants ->> '$.data[*].id' AS participant_ids,
    CASE
        WHEN node._platform = 'instagram' THEN node.participants ->> '$.data[*].username'
        ELSE node.participants ->> '$.data[*].name'
    END AS participant_names,
    node.participants, node.former_participants, node.senders, node.linked_group, node.wallpaper,
    node._platform, node._page_id, node._folder, regexp_extract(filename, '/window=([^/]*)/[^/]*$', 1) AS window_name,
    pageconv_iso(node._fetched_at) AS _fetched_at, node._export_id,
    coalesce(node._unavailable, false) AS _unavailable, coalesce(node._carried, false) AS _carried,
    line::JSON AS record
FROM nodes;

CREATE OR REPLACE TEMP VIEW pageconv_message_lines AS
WITH lines AS (
    SELECT pageconv_json(line) AS line, filename FROM query(getvariable('pageconv_read_messages'))
    UNION ALL
    SELECT pageconv_json(line) AS line, filename FROM query(getvariable('pageconv_read_message_rows'))
),
nodes AS (
    SELECT line, filename, json_transform(line, '{
        "id": "VARCHAR", "created_time": "VARCHAR", "message": "VARCHAR", "from": "JSON", "to": "JSON", "tags": "JSON",
        "attachments": "JSON", "shares": "JSON", "sticker": "VARCHAR", "story": "JSON", "reactions": "JSON",
        "is_unsupported": "BOOLEAN", "reply_to": "JSON", "_conversation_id": "VARCHAR",
        "_platform": "VARCHAR", "_page_id": "VARCHAR", "_folder": "VARCHAR", "_fetched_at": "VARCHAR", "_export_id": "VARCHAR",
        "_unavailable": "BOOLEAN", "_carried": "BOOLEAN"
    }') AS node
    FROM lines
)
SELECT
    node.id, node._conversation_id, pageconv_time(node.created_time, pageconv_iso(node._fetched_at)) AS created_time,
    node."from" ->> '$.id' AS from_id, coalesce(node."from" ->> '$.name', node."from" ->> '$.username') AS from_name,
    node.message, node.sticker, node.is_unsupported,
    node."from" AS from_json, node."to" AS to_json, node.tags, node.attachments, node.shares, node.story, node.reactions,
    node.reply_to,
    node._platform, node._page_id, node._folder, regexp_extract(filename, '/window=([^/]*)/[^/]*$', 1) AS window_name,
    pageconv_iso(node._fetched_at) AS _fetched_at, node._export_id,
    coalesce(node._unavailable, false) AS _unavailable, coalesce(node._carried, false) AS _carried,
    line::JSON AS record
FROM nodes;

-- ---- and column by column, where columns tell all

SET VARIABLE pageconv_read_conversation_columns = CASE
    WHEN getvariable('pageconv_conversation_tables') IS NULL THEN 'FROM pageconv_conversation_lines WHERE false'
    ELSE 'SELECT
        r.id, r.updated_time, r.message_count, r.unread_count, r.snippet, r.name, r.link, r.scoped_thread_key, r.can_reply,
        r.is_owner, r.is_subscribed, [p.id FOR p IN r.participants IF p.id IS NOT NULL] AS participant_ids,
        CASE WHEN r._platform = ''instagram'' THEN [p.username FOR p IN r.participants IF p.username IS NOT NULL]
            ELSE [p.name FOR p IN r.participants IF p.name IS NOT NULL] END AS participant_names,
        pageconv_people(r.participants)::JSON AS participants, pageconv_people(r.former_participants)::JSON AS former_participants,
        pageconv_people(r.senders)::JSON AS senders, pageconv_group(r.linked_group)::JSON AS linked_group,
        to_json(r.wallpaper) AS wallpaper, r._platform, r._page_id, r._folder,
        regexp_extract(r.filename, ''/window=([^/]*)/[^/]*$'', 1) AS window_name, r._fetched_at, r._export_id,
        coalesce(r._unavailable, false) AS _unavailable, coalesce(r._carried, false) AS _carried,
        pageconv_conversation_line(r, NULL)::JSON AS record'
        || pageconv_table('pageconv_conversation_tables') || 'WHERE r._extra IS NULL'
END;

SET VARIABLE pageconv_read_message_columns = CASE
    WHEN getvariable('pageconv_message_tables') IS NULL THEN 'FROM pageconv_message_lines WHERE false'
    ELSE 'SELECT
        r.id, r._conversation_id, r.created_time, r."from".id AS from_id,
        coalesce(r."from".name, r."from".username) AS from_name, r.message, r.sticker, r.is_unsupported,
        pageconv_person(r."from")::JSON AS from_json, pageconv_people(r."to")::JSON AS to_json,
        pageconv_tags(r.tags)::JSON AS tags, pageconv_attachments(r.attachments)::JSON AS attachments,
        pageconv_shares(r.shares)::JSON AS shares, pageconv_story(r.story)::JSON AS story,
        pageconv_reactions(r.reactions)::JSON AS reactions, pageconv_reply(r.reply_to)::JSON AS reply_to,
        r._platform, r._page_id, r._folder, regexp_extract(r.filename, ''/window=([^/]*)/[^/]*$'', 1) AS window_name,
        r._fetched_at, r._export_id, coalesce(r._unavailable, false) AS _unavailable, coalesce(r._carried, false) AS _carried,
        pageconv_message_line(r, NULL)::JSON AS record'
        || pageconv_table('pageconv_message_tables') || 'WHERE r._extra IS NULL'
END;

CREATE OR REPLACE TEMP VIEW pageconv_conversations AS
FROM pageconv_conversation_lines UNION ALL FROM query(getvariable('pageconv_read_conversation_columns'));

CREATE OR REPLACE TEMP VIEW pageconv_messages AS
FROM pageconv_message_lines UNION ALL FROM query(getvariable('pageconv_read_message_columns'));

-- ---- each once

CREATE OR REPLACE TEMP VIEW conversations_current AS
SELECT * FROM pageconv_conversations
QUALIFY row_number() OVER (
    PARTITION BY _platform, _page_id, id
    ORDER BY _fetched_at DESC NULLS LAST, _carried, _unavailable, window_name DESC, _folder
) = 1;

CREATE OR REPLACE TEMP VIEW messages AS
SELECT * FROM pageconv_messages
QUALIFY row_number() OVER (
    PARTITION BY _platform, _page_id, id
    -- With details before without, dated before undated, fresh before carried over, then what was fetched last.
    ORDER BY _unavailable, created_time IS NULL, _carried, _fetched_at DESC NULLS LAST, window_name DESC, _folder
) = 1;

-- ---- what is held about somebody, in all windows

-- An id stands by itself, not as a part of a longer one: what is no letter and no digit is around it.
CREATE OR REPLACE TEMP MACRO pageconv_names(record, person) AS
    contains(record::VARCHAR, person::VARCHAR)
    AND list_contains(regexp_extract_all(record::VARCHAR, '[0-9A-Za-z]+'), person::VARCHAR);

CREATE OR REPLACE TEMP MACRO records_of_person(person) AS TABLE
    SELECT 'conversations' AS stream, _platform, _page_id, _folder, window_name, id, id AS _conversation_id, updated_time AS time,
        _export_id, record
    FROM pageconv_conversations WHERE pageconv_names(record, person)
    UNION ALL
    SELECT 'messages', _platform, _page_id, _folder, window_name, id, _conversation_id, created_time, _export_id, record
    FROM pageconv_messages WHERE pageconv_names(record, person);

-- ---- what hangs on messages

-- Links of Meta's own say themselves when they end: in hexadecimal seconds since 1970 as a rule, in decimal ones on some hosts.
CREATE OR REPLACE TEMP MACRO pageconv_link_end(link) AS
    CASE WHEN regexp_matches(link, '^https?://([^/?#@]+\.)?(fbcdn\.net|fbsbx\.com|cdninstagram\.com)(:\d+)?[/?]') THEN to_timestamp(
        coalesce(
            TRY_CAST('0x' || nullif(regexp_extract(link, '[?&]oe=([0-9A-Fa-f]{8})(?:[&#]|$)', 1), '') AS BIGINT),
            TRY_CAST(nullif(regexp_extract(link, '[?&]ext=(\d{10})(?:[&#]|$)', 1), '') AS BIGINT)
        )
    ) END;

CREATE OR REPLACE TEMP VIEW attachments AS
WITH items AS (
    SELECT *, unnest(items) AS item, generate_subscripts(items, 1) AS number
    FROM (SELECT *, json_transform(json_extract(attachments, '$.data'), '["JSON"]') AS items FROM messages WHERE attachments IS NOT NULL)
),
nodes AS (
    SELECT *, json_transform(item, '{
        "id": "VARCHAR", "type": "VARCHAR", "name": "VARCHAR", "title": "VARCHAR", "mime_type": "VARCHAR", "size": "BIGINT",
        "url": "VARCHAR", "file_url": "VARCHAR", "image_data": "JSON", "video_data": "JSON", "generic_template": "JSON", "_media": "JSON"
    }') AS node
    FROM items
    WHERE json_type(item) = 'OBJECT'
),
linked AS (
    SELECT *, nullif(coalesce(
        node.image_data ->> '$.url', node.image_data ->> '$.animated_gif_url', node.video_data ->> '$.url', node.file_url,
        node.generic_template ->> '$.media_url', node.url
    ), '') AS link
    FROM nodes
)
SELECT
    id AS message_id, number, node.id AS id,
    coalesce(
        node.type,
        CASE
            WHEN json_type(node.image_data) = 'OBJECT' THEN 'image'
            WHEN json_type(node.video_data) = 'OBJECT' THEN 'video'
            WHEN json_type(node.generic_template) = 'OBJECT' THEN 'template'
            WHEN regexp_matches(node.mime_type, '^(image|video|audio)/') THEN split_part(node.mime_type, '/', 1)
            WHEN node.file_url IS NOT NULL OR node.mime_type IS NOT NULL THEN 'file'
        END
    ) AS kind,
    coalesce(node.name, node.title, node.generic_template ->> '$.title') AS name, node.mime_type, node.size,
    link, pageconv_link_end(link) AS link_ends,
    node._media ->> '$.path' AS media_path, node._media ->> '$.sha256' AS media_sha256,
    TRY_CAST(node._media ->> '$.bytes' AS BIGINT) AS media_bytes, node._media ->> '$.type' AS media_type,
    node._media ->> '$.error' AS media_error,
    _conversation_id, created_time, from_id, _platform, _page_id, _folder, window_name, _fetched_at, _export_id, _carried,
    item AS record
FROM linked;

-- ---- people

CREATE OR REPLACE TEMP MACRO pageconv_named(people) AS
    json_transform(json_extract(people, '$.data'), '[{"id": "VARCHAR", "name": "VARCHAR", "username": "VARCHAR"}]');

-- Whom conversations name, each time that one was exported.
CREATE OR REPLACE TEMP VIEW pageconv_named AS
SELECT
    _platform, _page_id, conversation_id, conversation_name, updated_time, _fetched_at,
    person.id AS id, coalesce(person.name, person.username) AS name
FROM (
    SELECT _platform, _page_id, id AS conversation_id, name AS conversation_name, updated_time, _fetched_at, unnest(list_concat(
        pageconv_named(participants), list_concat(pageconv_named(former_participants), pageconv_named(senders))
    )) AS person
    FROM pageconv_conversations
)
WHERE person.id IS NOT NULL;

-- Under which id a Page writes. On Instagram that is its account's, which no record names: of those whom a conversation is not
-- called after it is the one that most of them name, and where two share that, nobody knows.
CREATE OR REPLACE TEMP VIEW pageconv_accounts AS
SELECT DISTINCT says.platform AS _platform, says.page_id AS _page_id, says.page_id AS account
FROM pageconv_manifests
WHERE says.platform <> 'instagram'
UNION ALL
SELECT _platform, _page_id, id
FROM (
    SELECT _platform, _page_id, id, count(DISTINCT conversation_id) AS conversations
    FROM pageconv_named
    WHERE _platform = 'instagram' AND name IS DISTINCT FROM conversation_name
    GROUP BY ALL
)
QUALIFY rank() OVER (PARTITION BY _page_id ORDER BY conversations DESC) = 1
    AND count(*) OVER (PARTITION BY _page_id, conversations) = 1;

CREATE OR REPLACE TEMP VIEW participants AS
WITH seen AS (
    SELECT _platform, _page_id, id, name, conversation_id, updated_time AS moment, _fetched_at, false AS wrote FROM pageconv_named
    UNION ALL
    SELECT _platform, _page_id, from_id, from_name, _conversation_id, created_time, _fetched_at, true
    FROM messages
    WHERE from_id IS NOT NULL
)
SELECT
    _platform, _page_id, id, last(name ORDER BY _fetched_at, moment NULLS FIRST, name) FILTER (name IS NOT NULL) AS name,
    coalesce(bool_or(id = account), false) AS is_page,
    min(moment) AS first_seen, max(moment) AS last_seen,
    count(DISTINCT conversation_id) AS conversations, count(*) FILTER (wrote) AS messages,
    min(moment) FILTER (wrote) AS first_message, max(moment) FILTER (wrote) AS last_message
FROM seen LEFT JOIN pageconv_accounts USING (_platform, _page_id)
GROUP BY _platform, _page_id, id;

-- ---- how long people wait

CREATE OR REPLACE TEMP VIEW response_times AS
WITH known AS MATERIALIZED (
    SELECT
        m.id, m._platform, m._page_id, m._folder, m._conversation_id, m.created_time, m.from_id, m._export_id, since, until,
        tags ->> '$.data[*].name' AS names
    FROM messages AS m LEFT JOIN exports AS e
        ON m._platform = e.platform AND m._page_id = e.page_id AND m._folder = e.folder AND m.window_name = e.window_name
),
dated AS (
    SELECT _platform, _page_id, _conversation_id, _export_id, count(*) AS messages, min(created_time) AS oldest
    FROM known
    WHERE created_time IS NOT NULL
    GROUP BY ALL
),
-- Where something lies of which the API withheld when it was sent, or by whom. What has no time lies somewhere in its window;
-- where the 20 newest of a conversation, of which the API gives all, have one, it lies before them. Times have whole seconds.
withheld AS (
    SELECT
        _platform, _page_id, _conversation_id, coalesce(created_time, since, '-infinity') AS since,
        coalesce(
            created_time + INTERVAL 1 SECOND,
            least(CASE WHEN dated.messages >= 20 THEN oldest END, until), 'infinity'
        ) AS until
    FROM known LEFT JOIN dated USING (_platform, _page_id, _conversation_id, _export_id)
    WHERE created_time IS NULL OR from_id IS NULL
    UNION ALL
    SELECT _platform, _page_id, id, coalesce(since, '-infinity'), coalesce(until, 'infinity')
    FROM pageconv_conversations AS c LEFT JOIN exports AS e
        ON c._platform = e.platform AND c._page_id = e.page_id AND c._folder = e.folder AND c.window_name = e.window_name
    WHERE _unavailable
),
spans AS (
    SELECT _platform, _page_id, _conversation_id, list(DISTINCT {'since': since, 'until': until}) AS spans
    FROM withheld
    GROUP BY ALL
),
told AS (
    SELECT *, from_id = account AS is_page
    FROM known JOIN pageconv_accounts USING (_platform, _page_id)
    WHERE created_time IS NOT NULL AND from_id IS NOT NULL
),
marked AS (
    SELECT
        *,
        -- Tags are Meta's own and written down nowhere. Seen were source:bot, source:marketplace:bot,
        -- source:pages:auto_response and pages_comm_instant_reply.
        CASE WHEN len(names) > 0 THEN len([n FOR n IN names IF regexp_matches(
            n, '(^|[:_])(bot|auto_?(response|reply)|automat(ed|ion)|instant_reply|away_message)([:_]|$)'
        )]) > 0 END AS by_bot
    FROM told
    -- What Messenger itself puts into a thread, such as a new colour, is neither question nor answer.
    WHERE NOT coalesce(list_contains(names, 'source:generic_admin_text'), false)
),
-- A message of the Page's ends the turn before it. Of the same second the question comes first: who answers at once is a bot.
ordered AS (
    SELECT
        *,
        count(*) FILTER (is_page) OVER (thread ROWS UNBOUNDED PRECEDING) - is_page::INTEGER AS turn,
        max(CASE WHEN is_page THEN created_time END) OVER (thread ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS page_before,
        min(CASE WHEN is_page AND by_bot IS NOT TRUE THEN created_time END)
            OVER (thread ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS human_after
    FROM marked
    WINDOW thread AS (PARTITION BY _platform, _page_id, _conversation_id ORDER BY created_time, is_page, id)
),
turns AS (
    SELECT
        _platform, _page_id, _conversation_id,
        first(_folder ORDER BY created_time, id) FILTER (NOT is_page) AS _folder,
        first(from_id ORDER BY created_time, id) FILTER (NOT is_page) AS asked_by,
        first(id ORDER BY created_time, id) FILTER (NOT is_page) AS question_id,
        min(created_time) FILTER (NOT is_page) AS asked_at, count(*) FILTER (NOT is_page) AS questions,
        min(id) FILTER (is_page) AS answer_id, min(created_time) FILTER (is_page) AS answered_at,
        bool_or(by_bot) FILTER (is_page) AS by_bot,
        min(human_after) FILTER (NOT is_page) AS human_answered_at, min(page_before) FILTER (NOT is_page) AS page_before
    FROM ordered
    GROUP BY _platform, _page_id, _conversation_id, turn
    HAVING count(*) FILTER (NOT is_page) > 0
)
SELECT
    _platform, _page_id, _folder, _conversation_id, asked_by, question_id, asked_at, questions,
    hour(make_timestamp(epoch_us(asked_at)))::INTEGER AS hour, isodow(make_timestamp(epoch_us(asked_at)))::INTEGER AS weekday,
    answer_id, answered_at, epoch(answered_at - asked_at) AS seconds, by_bot,
    human_answered_at, epoch(human_answered_at - asked_at) AS human_seconds,
    len([
        span FOR span IN coalesce(spans, [])
        IF span.since <= coalesce(human_answered_at, 'infinity') AND span.until > coalesce(page_before, '-infinity')
    ]) > 0 AS withheld
FROM turns LEFT JOIN spans USING (_platform, _page_id, _conversation_id);
