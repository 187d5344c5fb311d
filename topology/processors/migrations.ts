import { createHash } from 'node:crypto'
import { sqlIdentifier, sqlString } from '../../features/plan/expression-sql.ts'
import type { Plan } from '../../features/plan/plan.ts'
import type {
  AppliedMigration,
  FoundColumn,
  FoundSchema,
  FoundTable,
  Migration,
  SchemaChanges,
  SchemaProblem,
} from '../offline-changes.ts'
import { addColumnsSql, columnSql, createTableSql, ttlSql } from './offline-ddl.ts'
import type { ColumnSpec, TableSpec, ViewSpec } from './offline-ddl.ts'
import { offlineObjects } from './offline-schema.ts'

/** One thing that a migration does: the statement, what to call it, and whether rows cannot be written without it. */
interface Step {
  readonly sql: string
  readonly about: string
  readonly needed: boolean
}

interface TableChange {
  readonly steps: readonly Step[]
  readonly problems: readonly SchemaProblem[]
}

/** ClickHouse prints types and keys with blanks and quotes of its own. */
const plain = (text: string): string => text.replaceAll(/[\s`]/g, '')

const KIND_OF_DEFAULT: Readonly<Record<string, ColumnSpec['kind']>> = {
  '': 'stored',
  MATERIALIZED: 'materialized',
  ALIAS: 'alias',
}

function blocking(message: string): SchemaProblem {
  return { message, blocksWriting: true }
}

function whatOf(table: TableSpec, column: string): string {
  return table.event === '' || column.startsWith('_')
    ? `column "${column}" of ${table.name}`
    : `field "${column}" of event "${table.event}"`
}

function columnStep(table: TableSpec, wanted: ColumnSpec, found: FoundColumn): Step | SchemaProblem | null {
  const kind = KIND_OF_DEFAULT[found.default_kind]
  if (kind !== wanted.kind) {
    const before = found.default_kind === '' ? 'a stored' : `a ${found.default_kind}`
    return blocking(
      `${whatOf(table, wanted.name)} is ${wanted.kind} now, the table ${table.name} has ${before} column of that name; ` +
        'give the new one another name',
    )
  }
  const modify = (about: string, needed: boolean): Step => {
    return { sql: `ALTER TABLE ${sqlIdentifier(table.name)} MODIFY COLUMN ${columnSql(wanted)}`, about, needed }
  }
  if (plain(wanted.type) !== plain(found.type)) {
    // Computed columns hold nothing; a stored one loses nothing when it also takes null.
    if (wanted.kind === 'alias') return modify(`compute ${wanted.name} as ${wanted.type}`, false)
    const widened = plain(wanted.type) === `Nullable(${plain(found.type)})`
    if (widened && !table.orderBy.includes(wanted.name)) return modify(`let ${wanted.name} be null`, true)
    return blocking(
      `${whatOf(table, wanted.name)} is ${wanted.type} now, the table ${table.name} keeps it as ${found.type}; ` +
        'give the changed field a new name, or change it back',
    )
  }
  if (wanted.comment === found.comment) return null
  const sql = `ALTER TABLE ${sqlIdentifier(table.name)} COMMENT COLUMN ${sqlIdentifier(wanted.name)} ${sqlString(wanted.comment)}`
  return { sql, about: `describe ${wanted.name}`, needed: false }
}

/** Columns that nothing fills any more, so that new rows would hold an empty text or a zero that no event stated. */
function leftColumns(table: TableSpec, found: readonly FoundColumn[]): readonly SchemaProblem[] {
  const known = new Set(table.columns.map(column => column.name))
  return found
    .filter(column => !known.has(column.name) && column.default_kind === '')
    .filter(column => !/^(Nullable|Array|Map|LowCardinality\(Nullable)\(/.test(column.type))
    .map(({ name, type }) => {
      const owner = table.event === '' ? table.name : `event "${table.event}"`
      const message =
        `the table ${table.name} has a column "${name}" of type ${type} that ${owner} no longer has; no migration ` +
        'removes columns, and new rows would hold an empty value there that nobody stated; ' +
        `declare the field again as t.optional, or let the column be null: ALTER TABLE ${table.name} MODIFY COLUMN ` +
        `${sqlIdentifier(name)} Nullable(${type}), or give it up: ALTER TABLE ${table.name} DROP COLUMN ${sqlIdentifier(name)}`
      return { message, blocksWriting: false }
    })
}

const OWN_TTL = /^toDateTime\(intDiv\(\w+,1000\),'UTC'\)\+toIntervalDay\(\d+\)$/

/** The TTL clause of a table as it is, without blanks; empty for none. */
function foundTtl(found: FoundTable): string {
  return plain(/ TTL ([^]*?)(?: SETTINGS |$)/.exec(found.engine_full)?.[1] ?? '')
}

function ttlStep(table: TableSpec, found: FoundTable, retentionDays: number): Step | SchemaProblem | null {
  const wanted = ttlSql(table, retentionDays)
  const now = foundTtl(found)
  if (now === plain(wanted)) return null
  const alter = `ALTER TABLE ${sqlIdentifier(table.name)}`
  if (now !== '' && !OWN_TTL.test(now)) {
    if (wanted === '') return null
    const message =
      `the table ${table.name} has a TTL of its own (${now}), which offlineStore.retentionDays = ${retentionDays} ` +
      `would replace; set retentionDays to 0, or remove it: ${alter} REMOVE TTL`
    return { message, blocksWriting: false }
  }
  if (wanted === '') return { sql: `${alter} REMOVE TTL`, about: 'keep rows for ever', needed: false }
  const about = `delete rows ${retentionDays} days after they arrived`
  return { sql: `${alter} MODIFY TTL ${wanted}`, about, needed: false }
}

function orderProblem(table: TableSpec, found: FoundTable): SchemaProblem | null {
  if (!found.engine.endsWith('ReplacingMergeTree')) {
    return blocking(
      `${table.name} is there as ${found.engine}, not as a ReplacingMergeTree, so that rows that are written again ` +
        'would stay; rename what is there, and run headwater migrate',
    )
  }
  const wanted = table.orderBy.join(',')
  if (plain(found.sorting_key) === plain(wanted)) return null
  const cause = table.event === '' ? '' : ` (event "${table.event}" has another key field)`
  return blocking(
    `the table ${table.name} is ordered by (${found.sorting_key}), it must be by (${table.orderBy.join(', ')})${cause}; ` +
      'the order of a table cannot change: give the event a new name, or rename the table, run headwater migrate, and ' +
      'copy the rows with INSERT INTO … SELECT',
  )
}

function isStep(outcome: Step | SchemaProblem): outcome is Step {
  return 'sql' in outcome
}

function changedTable(
  table: TableSpec,
  found: FoundTable,
  columns: readonly FoundColumn[],
  retentionDays: number,
): TableChange {
  const wrongOrder = orderProblem(table, found)
  if (wrongOrder !== null) return { steps: [], problems: [wrongOrder] }
  const byName = new Map(columns.map(column => [column.name, column]))
  const missing = table.columns.filter(column => !byName.has(column.name))
  const add = addColumnsSql(table.name, missing)
  const outcomes: (Step | SchemaProblem | null)[] = []
  if (add !== null) {
    const needed = missing.some(column => column.kind === 'stored')
    outcomes.push({ sql: add, about: `add ${missing.map(column => column.name).join(', ')}`, needed })
  }
  for (const column of table.columns) {
    const present = byName.get(column.name)
    if (present !== undefined) outcomes.push(columnStep(table, column, present))
  }
  outcomes.push(...leftColumns(table, columns), ttlStep(table, found, retentionDays))
  if (table.comment !== found.comment) {
    const sql = `ALTER TABLE ${sqlIdentifier(table.name)} MODIFY COMMENT ${sqlString(table.comment)}`
    outcomes.push({ sql, about: 'describe the table', needed: false })
  }
  const known = outcomes.filter(outcome => outcome !== null)
  return { steps: known.filter(isStep), problems: known.filter(outcome => !isStep(outcome)) as SchemaProblem[] }
}

function tableChange(table: TableSpec, found: FoundSchema, retentionDays: number): TableChange {
  const present = found.tables.find(each => each.name === table.name)
  if (present !== undefined) {
    const columns = found.columns.filter(column => column.table === table.name)
    return changedTable(table, present, columns, retentionDays)
  }
  const sql = createTableSql(table, retentionDays)
  return { steps: [{ sql, about: 'make the table', needed: true }], problems: [] }
}

function viewChange(view: ViewSpec, found: FoundSchema, checksum: string, last: AppliedMigration | null): TableChange {
  const present = found.tables.find(each => each.name === view.name)
  if (present !== undefined && present.engine !== 'View') {
    const message = `${view.name} is there as ${present.engine}, where a view must stand; rename it, and run headwater migrate`
    return { steps: [], problems: [{ message, blocksWriting: false }] }
  }
  if (present !== undefined && last?.checksum === checksum) return { steps: [], problems: [] }
  const about = present === undefined ? 'make the view' : 'make the view anew'
  return { steps: [{ sql: view.sql, about, needed: false }], problems: [] }
}

function checksumOf(parts: readonly string[]): string {
  return createHash('sha256').update(parts.join('\0')).digest('hex')
}

/**
 * What must be done to a database before it holds what a plan needs: statements that add and lose nothing, tables
 * before the views over them. A change that would lose something is a problem instead, with its remedy.
 * @param retentionDays rows of events, scores, labels, drift and dead letters are deleted so many days after they
 * arrived; 0 keeps them for ever
 */
export function schemaChanges(plan: Plan, retentionDays: number, found: FoundSchema): SchemaChanges {
  const migrations: Migration[] = []
  const problems: SchemaProblem[] = []
  const take = (object: string, checksum: string, last: AppliedMigration | null, change: TableChange): void => {
    problems.push(...change.problems)
    if (change.steps.length === 0) return
    migrations.push({
      object,
      version: (last?.version ?? 0) + 1,
      name: change.steps.map(step => step.about).join('; '),
      checksum,
      statements: change.steps.map(step => step.sql),
      needed: change.steps.some(step => step.needed),
    })
  }
  const lastOf = (object: string) => found.applied.find(each => each.object === object) ?? null
  const { tables, views } = offlineObjects(plan)
  const definitions = new Map(tables.map(table => [table.name, createTableSql(table, 0)]))
  for (const table of tables) {
    const checksum = checksumOf([createTableSql(table, retentionDays)])
    take(table.name, checksum, lastOf(table.name), tableChange(table, found, retentionDays))
  }
  for (const view of views) {
    const checksum = checksumOf([view.sql, definitions.get(view.over) ?? ''])
    const last = lastOf(view.name)
    take(view.name, checksum, last, viewChange(view, found, checksum, last))
  }
  return { migrations, problems }
}
