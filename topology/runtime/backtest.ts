import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Project, ServiceCode } from '../../features/plan/compile.ts'
import { authorValues } from '../../features/plan/event.ts'
import type { DecodedEvent } from '../../features/plan/event.ts'
import { eventsOf, groupSource } from '../../features/plan/group-source.ts'
import type { Value } from '../../features/kernel/types.ts'
import type { Plan, ServicePlan, SourcePlan } from '../../features/plan/plan.ts'
import { backtest } from '../jobs/backtest.ts'
import type { BacktestColumn, BacktestSummary } from '../jobs/backtest.ts'
import { InputError } from '../jobs/rows.ts'
import type { Clock } from '../ports/clock.ts'
import type { Telemetry } from '../ports/telemetry.ts'
import { ServerError } from '../ports/server.ts'
import { createScoringEngine } from '../scoring/engine.ts'
import { embeddedConfig } from './config.ts'
import type { Config } from './config.ts'
import { openContext } from './context.ts'
import { workerOf } from './feature-processes.ts'
import { openTableFiles } from './offline.ts'

/** What is read for each event: a service's whole vector, or the features of some groups. */
export type BacktestTarget =
  { readonly kind: 'service'; readonly name: string } | { readonly kind: 'groups'; readonly names: readonly string[] }

const GROUPS_SERVICE = 'backtest_groups'

/** The service to read, made up for the occasion where groups were named. */
function serviceOf(project: Project, target: BacktestTarget): { service: ServicePlan; code: ServiceCode } {
  const { plan } = project
  if (target.kind === 'service') {
    const service = plan.services.find(s => s.name === target.name)
    const code = project.services.get(target.name)
    if (service !== undefined && code !== undefined) return { service, code }
    throw new InputError(
      `there is no service "${target.name}"; the plan has ${plan.services.map(s => s.name).join(', ')}`,
    )
  }
  const groups = target.names.map(name => {
    const group = plan.groups.find(g => g.name === name)
    if (group !== undefined) return group
    throw new InputError(`there is no group "${name}"; the plan has ${plan.groups.map(g => g.name).join(', ')}`)
  })
  const sources = [...new Set(groups.flatMap(group => eventsOf(plan, group)))]
  const [source] = sources
  if (source === undefined || sources.length > 1) {
    throw new InputError(
      `the groups are fed by ${sources.join(', ')}; a backtest replays one event's file, so name groups of one event, or a service over such groups`,
    )
  }
  const service: ServicePlan = {
    name: GROUPS_SERVICE,
    request: source,
    groups: target.names,
    derived: [],
    model: null,
    policy: null,
    bundleHash: '',
    definitionHash: '',
    description: '',
  }
  return { service, code: { derived: [], policy: null } }
}

const WHOLE_NUMBERS = new Set(['count', 'distinct'])

/** @param unnamed whether an event may name no entity of the group, so that there is no value */
function columnType(valueType: string, family: string, unnamed: boolean): string {
  const nullable = unnamed || valueType.includes('null')
  const base = valueType.replace(/\s*\|\s*null/, '').trim()
  if (base.startsWith('readonly')) {
    const element = /readonly \(?(string|bigint|boolean)/.exec(base)?.[1] ?? 'number'
    return `Array(${{ string: 'String', bigint: 'Int64', boolean: 'Bool' }[element] ?? 'Float64'})`
  }
  const known: Readonly<Record<string, string>> = { string: 'String', boolean: 'Bool', bigint: 'Int64' }
  const plain = known[base] ?? (WHOLE_NUMBERS.has(family) ? 'Int64' : 'Float64')
  return nullable ? `Nullable(${plain})` : plain
}

/** One column per feature in the plan's order, then the derived ones, which are numbers. */
function columnsOf(plan: Plan, service: ServicePlan): readonly BacktestColumn[] {
  const features = service.groups.flatMap(name => {
    const group = plan.groups.find(g => g.name === name)
    if (group === undefined) return []
    const keys = groupSource(plan, group.source).fields.filter(field => group.keyFields.includes(field.name))
    const unnamed = keys.some(field => field.optional)
    return group.features.map(feature => ({
      name: `${name}.${feature.name}`,
      type: columnType(feature.valueType, feature.aggregator.family, unnamed),
    }))
  })
  return [...features, ...service.derived.map(name => ({ name: `derived.${name}`, type: 'Nullable(Float64)' }))]
}

function outputValue(column: BacktestColumn, value: Value): Value {
  if (value === null && column.type.startsWith('Array')) return []
  if (!column.name.startsWith('derived.') || value === null || typeof value === 'number') return value
  if (typeof value === 'boolean') return value ? 1 : 0
  throw new InputError(
    `${column.name} answered ${JSON.stringify(value)}; a backtest writes derived features as numbers`,
  )
}

/**
 * Only what is read is computed: a plan cut down to the service's own groups. The events go through a log of the
 * backtest's own, where nobody else reads them: always as JSON.
 */
function cutPlan(plan: Plan, service: ServicePlan, needed: ReadonlySet<string>): Plan {
  const groups = plan.groups.filter(group => service.groups.includes(group.name))
  const sources = plan.sources
    .filter(source => needed.has(source.name))
    .map((source): SourcePlan => ({ ...source, format: 'json' }))
  const unions = plan.unions.filter(union => groups.some(group => group.source === union.name))
  return { ...plan, sources, unions, groups, services: [{ ...service, model: null }] }
}

/**
 * Runs a backtest in a temporary folder with embedded stores: the real log, worker, online store and join. The folder
 * is removed afterwards.
 */
export async function runBacktest(options: {
  readonly config: Config
  readonly project: Project
  readonly target: BacktestTarget
  readonly eventsPath: string
  readonly outPath: string
  readonly sampleOneIn: number
  readonly clock: Clock
  readonly telemetry: Telemetry
  readonly onProgress: (done: BacktestSummary, total: number | null) => void
}): Promise<BacktestSummary> {
  const { clock, telemetry } = options
  const { service, code } = serviceOf(options.project, options.target)
  const { plan } = options.project
  const groups = plan.groups.filter(group => service.groups.includes(group.name))
  const needed = new Set([service.request, ...groups.flatMap(group => eventsOf(plan, group))])
  if (needed.size > 1) {
    throw new InputError(
      `service "${service.name}" joins ${[...needed].join(', ')}; a backtest replays one event's file`,
    )
  }
  const cut = cutPlan(plan, service, needed)
  const directory = mkdtempSync(join(tmpdir(), 'headwater-backtest-'))
  const config = embeddedConfig(options.config, directory, 'backtest')
  const context = await openContext(config, { ...options.project, plan: cut }, clock, telemetry)
  const files = await openTableFiles()
  const engine = createScoringEngine({
    bound: context.bound,
    services: new Map([[service.name, code]]),
    namespace: config.namespace,
    store: context.store,
    models: new Map(),
    clock,
    telemetry,
    emit: () => undefined,
    limits: { maxReadMs: 60_000 },
  })
  try {
    const [revision] = context.catalogue.revisions
    const worker = revision === undefined ? null : workerOf(context, revision)
    const [source] = cut.sources
    if (worker === null || source === undefined) throw new InputError(`service "${service.name}" reads no features`)
    const columns = columnsOf(cut, service)
    const readVectors = (events: readonly DecodedEvent[]) =>
      Promise.all(
        events.map(async event => {
          const of = { kind: 'service', service: service.name, event: authorValues(source, event) } as const
          const features = await engine.getFeatures({ of, asOfMs: event.time }).then(
            answer => answer.features,
            (error: unknown) => {
              if (error instanceof ServerError && error.code === 'OUT_OF_RANGE') return null
              throw error
            },
          )
          if (features === null) return null
          return columns.map(column => outputValue(column, features[column.name] ?? null))
        }),
      )
    const { eventsPath, outPath, sampleOneIn, onProgress } = options
    return await backtest({
      source,
      eventsPath,
      outPath,
      sampleOneIn,
      columns,
      log: context.log,
      worker: worker.handlers,
      readVectors,
      files,
      onProgress,
    })
  } finally {
    await engine.close()
    await files.close()
    await context.close()
    rmSync(directory, { recursive: true, force: true })
  }
}
