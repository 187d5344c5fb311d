import type { Derived, Entity, Event, Group, Policy, Service, Union } from '../define/index.ts'
import { definitionKind } from '../define/marks.ts'
import { compileGroup } from './compile-groups.ts'
import { shownText } from './compile-names.ts'
import { checkPolicy, compileService } from './compile-services.ts'
import type { ServiceCode } from './compile-services.ts'
import { compileEntity, compileEvent } from './compile-sources.ts'
import { compileUnion, memberEvents } from './compile-unions.ts'
import { eventSource, unionSource } from './group-source.ts'
import type { GroupSource } from './group-source.ts'
import { hashOf } from './hash.ts'
import type { EntityPlan, GroupPlan, Plan, Problem, ServicePlan, SourcePlan, UnionPlan } from './plan.ts'
import { reporter } from './problems.ts'
import type { Report } from './problems.ts'

export { requestKeyFields } from './compile-services.ts'
export type { ServiceCode } from './compile-services.ts'

/** Loaded definition modules. */
export interface CompileInput {
  readonly definitions: readonly { readonly file: string; readonly exports: Readonly<Record<string, unknown>> }[]
  /** By file: the hash of the module with all that it imports. */
  readonly bundleHashes: Readonly<Record<string, string>>
}

/** A plan with the code that it cannot hold. */
export interface Project {
  readonly plan: Plan
  /** By service name. */
  readonly services: ReadonlyMap<string, ServiceCode>
  /** Codes HW09xx: what is allowed but looks wrong. */
  readonly warnings: readonly Problem[]
}

/** A project, or everything that keeps the modules from being one. */
export type CompileResult =
  { readonly ok: true; readonly project: Project } | { readonly ok: false; readonly problems: readonly Problem[] }

/** A definition under its name, with the module it was first seen in. */
interface Found<D> {
  readonly file: string
  readonly definition: D
}

interface Collected {
  readonly event: Map<string, Found<Event>>
  readonly union: Map<string, Found<Union>>
  readonly entity: Map<string, Found<Entity>>
  readonly group: Map<string, Found<Group>>
  readonly policy: Map<string, Found<Policy>>
  readonly service: Map<string, Found<Service>>
  /** Definitions whose name was taken, each said once. */
  readonly refused: Set<unknown>
}

/**
 * Compiles everything that the modules export, and what that uses, into a frozen plan; or returns all problems of all
 * modules at once. Exports that are no definitions are left alone. The order of modules does not matter.
 */
export function compileProject(input: CompileInput): CompileResult {
  const problems: Problem[] = []
  const warnings: Problem[] = []
  const reportIn = (file: string): Report => reporter(file, problems)
  const found = collect(input, reportIn)
  const sources = new Map<string, SourcePlan>()
  for (const [name, { definition, file }] of found.event) sources.set(name, compileEvent(definition, reportIn(file)))
  checkTopics(sources, found, reportIn)
  const unions = new Map<string, UnionPlan>()
  for (const [name, { definition, file }] of found.union) {
    unions.set(name, compileUnion(definition, sources, reportIn(file)))
    const event = found.event.get(name)
    if (event !== undefined) {
      const elsewhere = event.file === file ? 'in this file' : `in ${event.file}`
      reportIn(file)('HW0103', `union ${name}`, `an event ${elsewhere} is named "${name}" too`)
    }
  }
  const groupSources = new Map<string, GroupSource>()
  for (const union of unions.values()) groupSources.set(union.name, unionSource(union, [...sources.values()]))
  for (const source of sources.values()) groupSources.set(source.name, eventSource(source))
  const entities = new Map<string, EntityPlan>()
  for (const [name, { definition, file }] of found.entity) entities.set(name, compileEntity(definition, reportIn(file)))
  const groups = new Map<string, GroupPlan>()
  for (const [name, { definition, file }] of found.group) {
    const source = groupSources.get(definition.source?.name)
    const entity = definitionKind(definition.entity) === 'entity' ? entities.get(definition.entity.name) : undefined
    if (source === undefined || entity === undefined) continue
    groups.set(name, compileGroup(definition, source, entity, reportIn(file), reporter(file, warnings)))
  }
  for (const { definition, file } of found.policy.values()) checkPolicy(definition, reportIn(file))
  const plans: ServicePlan[] = []
  const services = new Map<string, ServiceCode>()
  for (const [name, { definition, file }] of found.service) {
    const bundleHash = input.bundleHashes[file]
    const context = { sources, groupSources, entities, groups, bundleHash }
    const compiled = compileService(definition, context, reportIn(file))
    if (compiled === null) continue
    plans.push(compiled.plan)
    services.set(name, compiled.code)
  }
  const total = sources.size + unions.size + entities.size + groups.size + plans.length
  if (total === 0 && problems.length === 0) {
    for (const { file } of input.definitions) reportIn(file)('HW0003', 'module', 'it exports no definition')
  }
  if (problems.length > 0) return { ok: false, problems }
  const plan = freezePlan({
    sources: [...sources.values()],
    unions: [...unions.values()],
    entities: [...entities.values()],
    groups: [...groups.values()],
    services: plans,
  })
  return { ok: true, project: { plan, services, warnings } }
}

function freezePlan(parts: Omit<Plan, 'format' | 'hash'>): Plan {
  const content = {
    format: 1 as const,
    sources: parts.sources.toSorted(byName),
    unions: parts.unions.toSorted(byName),
    entities: parts.entities.toSorted(byName),
    groups: parts.groups.toSorted(byName),
    services: parts.services.toSorted(byName),
  }
  return deepFreeze({ hash: hashOf(content), ...content })
}

function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name < b.name ? -1 : 1
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value)
    for (const part of Object.values(value)) deepFreeze(part)
  }
  return value
}

function collect(input: CompileInput, reportIn: (file: string) => Report): Collected {
  const found: Collected = {
    event: new Map(),
    union: new Map(),
    entity: new Map(),
    group: new Map(),
    policy: new Map(),
    service: new Map(),
    refused: new Set(),
  }
  const modules = input.definitions.map(({ file, exports }) => ({ file, values: Object.values(exports) }))
  for (const { file, values } of modules) for (const value of values) keep(found, value, file, reportIn(file))
  for (const { file, values } of modules) for (const value of values) keepUsed(found, value, file, reportIn(file))
  return found
}

function keep(found: Collected, value: unknown, file: string, report: Report): void {
  const kind = definitionKind(value)
  if (kind === null || kind === 'field' || kind === 'feature' || kind === 'derived') return
  const kept = found[kind] as Map<string, Found<unknown>>
  const { name } = value as { readonly name: string }
  const known = kept.get(name)
  if (known === undefined) kept.set(name, { file, definition: value })
  else if (
    known.definition !== value &&
    !found.refused.has(value) &&
    fingerprint(known.definition) !== fingerprint(value)
  ) {
    found.refused.add(value)
    const elsewhere = known.file === file ? 'in this file' : `in ${known.file}`
    report('HW0103', `${kind} ${name}`, `another ${kind} ${elsewhere} is named "${name}" too`)
  }
}

/** Keeps what a definition uses, whether or not it is exported itself. */
function keepUsed(found: Collected, value: unknown, file: string, report: Report): void {
  const kind = definitionKind(value)
  if (kind === 'group') {
    const { name, source, entity } = value as Group
    const isUnion = definitionKind(source) === 'union'
    if (isUnion || definitionKind(source) === 'event') keep(found, source, file, report)
    else report('HW0104', `group ${name}`, `source is ${shownText(source)}, not an event or a union`)
    if (isUnion) keepUsed(found, source, file, report)
    if (definitionKind(entity) === 'entity') keep(found, entity, file, report)
    else report('HW0104', `group ${name}`, `entity is ${shownText(entity)}, not an entity`)
  } else if (kind === 'union') {
    for (const event of memberEvents(value as Union)) keep(found, event, file, report)
  } else if (kind === 'service') {
    const { request, groups, policy } = value as Service
    if (definitionKind(request) === 'event') keep(found, request, file, report)
    if (definitionKind(policy) === 'policy') keep(found, policy, file, report)
    for (const group of Array.isArray(groups) ? (groups as readonly Group[]) : []) {
      if (definitionKind(group) !== 'group') continue
      const isNew = !found.group.has(group.name)
      keep(found, group, file, report)
      if (isNew) keepUsed(found, group, file, report)
    }
  }
}

/** Equal for two copies of one definition, as when a module is bundled twice. */
function fingerprint(definition: unknown): string {
  return JSON.stringify(definition, (_key, value: unknown) => {
    if (typeof value === 'bigint') return `${value}n`
    if (typeof value !== 'function') return value
    return definitionKind(value) === 'derived'
      ? String((value as unknown as Derived<unknown, null>).source)
      : String(value)
  })
}

/** Topics that Headwater makes itself: scores and labels, late events, dead letters. */
const OWN_TOPIC = /^hw\.|\.late$|\.dead-letter$/

function checkTopics(
  sources: ReadonlyMap<string, SourcePlan>,
  found: Collected,
  reportIn: (file: string) => Report,
): void {
  const owners = new Map<string, string>()
  for (const [name, { topic }] of sources) {
    if (OWN_TOPIC.test(topic)) {
      const report = reportIn(found.event.get(name)?.file ?? '')
      report('HW0209', `event ${name}`, `topic "${topic}" is of a form that Headwater uses for its own topics`)
    }
    const owner = owners.get(topic)
    if (owner === undefined || topic === '') owners.set(topic, name)
    else
      reportIn(found.event.get(name)?.file ?? '')(
        'HW0209',
        `event ${name}`,
        `topic "${topic}" belongs to event ${owner}`,
      )
  }
}
