import { isDeepStrictEqual } from 'node:util'
import { bindPlan, parseCatalogue, placePlan } from '../../features/plan/units.ts'
import type { BoundPlan, Catalogue, TopicStanding } from '../../features/plan/units.ts'
import type { Plan } from '../../features/plan/plan.ts'
import { PortError } from '../ports/errors.ts'
import type { EventLog } from '../ports/event-log.ts'
import type { OnlineStore } from '../ports/online-store.ts'
import { checkTopic } from '../processors/topic-check.ts'
import { topologyOf } from '../topology.ts'

const DOCUMENT = 'catalogue'
const KEEP_INTERVAL_MS = 1_000
const MAX_ATTEMPTS = 20

async function standingOf(log: EventLog, topic: string): Promise<TopicStanding> {
  const info = await log.describe(topic)
  if (info === null) throw new Error(`topic ${topic} does not exist`)
  const bounds = await Promise.all(Array.from({ length: info.partitions }, (_, p) => log.bounds(topic, p)))
  return {
    incarnation: info.incarnation,
    startOffsets: bounds.map(b => b.startOffset),
    endOffsets: bounds.map(b => b.endOffset),
  }
}

/**
 * Makes the topics that a plan needs and are absent. Rejects with `TOPIC_MISMATCH`, naming all reasons, where one that
 * is there would lose or distort what is counted.
 */
async function prepareTopics(plan: Plan, log: EventLog): Promise<void> {
  const { topics } = topologyOf(plan)
  const infos = await log.ensureTopics(topics)
  const found = new Map(infos.map(info => [info.name, info]))
  const problems = topics.flatMap(need => checkTopic(need, found.get(need.name) ?? null))
  const errors = problems.filter(problem => problem.severity === 'error')
  if (errors.length === 0) return
  const reasons = errors.map(({ topic, message, remedy }) => `  ${topic} ${message}: ${remedy}`)
  throw new PortError('TOPIC_MISMATCH', `The topics do not fit the definitions:\n${reasons.join('\n')}`)
}

/** The catalogue as stored; nothing is changed. */
export async function readCatalogue(store: OnlineStore): Promise<Catalogue> {
  return (await readStored(store)).catalogue
}

async function readStored(
  store: OnlineStore,
): Promise<{ readonly text: string | null; readonly catalogue: Catalogue }> {
  const text = await store.readDocument(DOCUMENT)
  return { text, catalogue: parseCatalogue(text) }
}

/**
 * Makes the topics a plan needs, gives its features stored units (creating those that are missing), and binds the
 * plan to them. Safe to run in several processes at once.
 */
export async function preparePlan(
  plan: Plan,
  log: EventLog,
  store: OnlineStore,
): Promise<{ readonly bound: BoundPlan; readonly catalogue: Catalogue }> {
  await prepareTopics(plan, log)
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const { text, catalogue: current } = await readStored(store)
    const standings = new Map<string, TopicStanding>()
    for (const source of plan.sources) standings.set(source.name, await standingOf(log, source.topic))
    const catalogue = placePlan(plan, current, standings)
    if (catalogue === current || (await store.writeDocument(DOCUMENT, text, JSON.stringify(catalogue)))) {
      return { bound: bindPlan(plan, catalogue), catalogue }
    }
  }
  throw new Error(`the catalogue of units changed under ${MAX_ATTEMPTS} attempts to extend it`)
}

/**
 * The units that this process works with are not those of the store any more: their numbers may mean other units now, so
 * nothing must be written or read under them.
 */
const REPLACED =
  'the online store was emptied and its catalogue of units made anew by another process; start this one again'

/**
 * Sees to it that the stored catalogue still holds the units of `catalogue`. A store that was emptied gets it back, so
 * that all processes go on with the same units. Fails with `CATALOGUE_REPLACED` when it holds others.
 */
export async function confirmCatalogue(store: OnlineStore, catalogue: Catalogue): Promise<void> {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const { text, catalogue: stored } = await readStored(store)
    if (text !== null) {
      const same = catalogue.revisions.every((revision, index) => isDeepStrictEqual(stored.revisions[index], revision))
      if (!same) throw new PortError('CATALOGUE_REPLACED', REPLACED)
      return
    }
    if (await store.writeDocument(DOCUMENT, null, JSON.stringify(catalogue))) return
  }
  throw new Error(`the catalogue of units changed under ${MAX_ATTEMPTS} attempts to confirm it`)
}

/**
 * Confirms the catalogue once a second until the returned function is called; `replaced` is told once when it holds
 * other units. A store that does not answer is asked again.
 */
export function keepCatalogue(
  store: OnlineStore,
  catalogue: Catalogue,
  replaced: (error: PortError) => void,
): () => void {
  let asking = false
  const timer = setInterval(() => {
    if (asking) return
    asking = true
    confirmCatalogue(store, catalogue)
      .catch((error: unknown) => {
        if (!(error instanceof PortError) || error.code !== 'CATALOGUE_REPLACED') return
        clearInterval(timer)
        replaced(error)
      })
      .finally(() => (asking = false))
  }, KEEP_INTERVAL_MS)
  return () => clearInterval(timer)
}
