-- Users of Headwater on a ClickHouse server (24.8 or newer), with no more rights than each needs.
-- Run as a user that may manage access, with passwords of your own in place of the three below:
--   clickhouse-client --multiquery < users.sql
-- The database is offlineStore.database of the configuration; the users are offlineStore.username.

CREATE DATABASE IF NOT EXISTS headwater;

-- Every statement comes with its own settings (async_insert = 0, join_use_nulls = 1 and others), so profiles must let
-- users change them: readonly = 2, never 1. A readonly = 2 user reads, and changes nothing but settings.
CREATE SETTINGS PROFILE IF NOT EXISTS headwater_reading SETTINGS readonly = 2;

-- headwater migrate: makes and changes tables and views. It drops no table and no column.
CREATE USER IF NOT EXISTS headwater_migrator IDENTIFIED WITH sha256_password BY 'replace-with-the-migrators-password';
GRANT CREATE TABLE, CREATE VIEW, DROP VIEW, SELECT, INSERT ON headwater.* TO headwater_migrator;
GRANT ALTER ADD COLUMN, ALTER MODIFY COLUMN, ALTER COMMENT COLUMN, ALTER MODIFY COMMENT ON headwater.* TO headwater_migrator;
GRANT ALTER TTL, ALTER MATERIALIZE TTL ON headwater.* TO headwater_migrator;

-- Processes that run: offline writer, drift monitor. They check the tables at start and write rows.
CREATE USER IF NOT EXISTS headwater_writer IDENTIFIED WITH sha256_password BY 'replace-with-the-writers-password';
GRANT SELECT, INSERT ON headwater.* TO headwater_writer;

-- headwater sql, notebooks and dashboards. The views read their tables with the rights of whoever asks.
CREATE USER IF NOT EXISTS headwater_analyst IDENTIFIED WITH sha256_password BY 'replace-with-the-analysts-password'
  SETTINGS PROFILE 'headwater_reading';
GRANT SELECT ON headwater.* TO headwater_analyst;
