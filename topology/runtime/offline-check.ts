import { clickHouseCode } from '../offline-changes.ts'
import { PortError } from '../ports/errors.ts'
import type { OfflineStore } from '../ports/offline-store.ts'

/** One thing found about the offline store; `error` where it must not be used so. */
export interface OfflineFinding {
  readonly level: 'ok' | 'warning' | 'error'
  readonly what: string
  /** Empty where all is well. */
  readonly remedy: string
}

const OLDEST_MAJOR = 24
const OLDEST_MINOR = 8
const OLDEST = `${OLDEST_MAJOR}.${OLDEST_MINOR}`
const LEAST_FREE_SHARE = 0.1
const UNKNOWN_DATABASE = 81

/** Settings that are sent with every statement or every insert. */
const SENT_SETTINGS = [
  'async_insert',
  'join_use_nulls',
  'join_algorithm',
  'output_format_json_quote_64bit_integers',
  'output_format_json_quote_denormals',
  'wait_end_of_query',
  'input_format_skip_unknown_fields',
  'input_format_null_as_default',
  'max_partitions_per_insert_block',
  'insert_deduplication_token',
]

function versionFinding(version: string): OfflineFinding {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const old = major < OLDEST_MAJOR || (major === OLDEST_MAJOR && minor < OLDEST_MINOR)
  return old
    ? {
        level: 'error',
        what: `ClickHouse ${version} is older than ${OLDEST}`,
        remedy: `use ClickHouse ${OLDEST} or newer`,
      }
    : { level: 'ok', what: `ClickHouse ${version}`, remedy: '' }
}

/** Error codes for a user whose profile does not let it send settings. */
const MAY_NOT_SET: ReadonlySet<number> = new Set([164, 452])

function profileFinding(error: unknown): OfflineFinding | null {
  const code = clickHouseCode(error)
  if (code === null || !MAY_NOT_SET.has(code)) return null
  return {
    level: 'error',
    what: 'the user of offlineStore.username may not send settings with a query',
    remedy: `give it a profile with readonly = 2 in place of 1, without constraints on ${SENT_SETTINGS.join(', ')}`,
  }
}

async function settingFindings(offline: Pick<OfflineStore, 'query'>): Promise<readonly OfflineFinding[]> {
  const fixed = await offline.query<{ readonly name: string }>(
    'SELECT name FROM system.settings WHERE readonly = 1 AND name IN {names:Array(String)} ORDER BY name',
    { names: SENT_SETTINGS },
  )
  return fixed.map(({ name }) => ({
    level: 'error',
    what: `the user of offlineStore.username may not change the setting ${name}`,
    remedy: `remove the constraint on ${name} from its profile`,
  }))
}

async function diskFindings(offline: Pick<OfflineStore, 'query'>): Promise<readonly OfflineFinding[]> {
  const full = await offline.query<{ readonly name: string; readonly percent: number }>(
    `SELECT name, round(100 * free_space / total_space, 1) AS percent FROM system.disks
WHERE total_space > 0 AND free_space < total_space * {least:Float64} ORDER BY name`,
    { least: LEAST_FREE_SHARE },
  )
  return full.map(({ name, percent }) => ({
    level: 'warning',
    what: `${percent} % of the disk ${name} is free`,
    remedy: 'make room, or set offlineStore.retentionDays',
  }))
}

/**
 * Looks at the server behind an offline store: whether it answers, its version, whether this user may send the settings
 * that every statement needs, and room on its disks. Changes nothing and does not throw; what a query was refused for
 * is a finding. Whether tables fit a plan is `pendingChanges`.
 */
export async function checkOfflineStore(
  offline: Pick<OfflineStore, 'query' | 'url'>,
): Promise<readonly OfflineFinding[]> {
  const findings: OfflineFinding[] = []
  try {
    const [row] = await offline.query<{ readonly version: string }>('SELECT version() AS version')
    findings.push(versionFinding(row?.version ?? ''))
    findings.push(...(await settingFindings(offline)))
    findings.push(...(await diskFindings(offline)))
  } catch (error) {
    const what = error instanceof Error ? error.message : String(error)
    const down = error instanceof PortError && error.code === 'STORE_UNAVAILABLE'
    const remedy = down
      ? 'start the server, or correct offlineStore.url'
      : clickHouseCode(error) === UNKNOWN_DATABASE
        ? 'run "headwater migrate", which makes it, or correct offlineStore.database'
        : 'see what ClickHouse says'
    findings.push(profileFinding(error) ?? { level: 'error', what, remedy })
  }
  return findings
}

/** Refuses a server that is too old, or a user that may not send settings. */
export async function requireServerVersion(offline: Pick<OfflineStore, 'query' | 'url'>): Promise<void> {
  let finding: OfflineFinding
  try {
    const [row] = await offline.query<{ readonly version: string }>('SELECT version() AS version')
    finding = versionFinding(row?.version ?? '')
  } catch (error) {
    const refused = profileFinding(error)
    // A database that is not there yet is for the schema's check to tell.
    if (refused === null && clickHouseCode(error) === UNKNOWN_DATABASE) return
    if (refused === null) throw error
    finding = refused
  }
  if (finding.level !== 'error') return
  throw new PortError('STORE_UNAVAILABLE', `${offline.url}: ${finding.what}; ${finding.remedy}`)
}
