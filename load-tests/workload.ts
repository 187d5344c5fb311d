import { compileProject } from '../features/plan/compile.ts'
import { encodeJsonEvent, eventDecoder } from '../features/plan/event.ts'
import type { DecodedEvent } from '../features/plan/event.ts'
import type { Plan } from '../features/plan/plan.ts'
import { EMPTY_CATALOGUE, bindPlan, placePlan } from '../features/plan/units.ts'
import * as fraudDefinitions from '../features/fraud/index.ts'
import { createGenerator } from '../services/demo/generator.ts'
import type { PaymentEvent } from '../services/demo/generator.ts'

const START_MS = Date.UTC(2026, 0, 1)

/** The shipped fraud definitions, compiled and bound as on an empty system. */
export function benchPlan() {
  const definitions = [{ file: 'features/fraud/index.ts', exports: { ...fraudDefinitions } }]
  const compiled = compileProject({ definitions, bundleHashes: { 'features/fraud/index.ts': 'bench' } })
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems, null, 2))
  const { project } = compiled
  const bound = bindPlan(project.plan, placePlan(project.plan, EMPTY_CATALOGUE, standings(project.plan)))
  const [source] = project.plan.sources
  if (source === undefined) throw new Error('the plan has no source')
  const decoder = eventDecoder(source)
  const decode = (event: PaymentEvent): DecodedEvent => {
    const decoded = decoder.decodeFields({ ...event }, null)
    if (!decoded.ok) throw new Error(decoded.reason)
    return decoded.event
  }
  const encode = (event: PaymentEvent): Uint8Array => encodeJsonEvent(source, decode(event))
  return { project, bound, source, decode, encode }
}

function standings(plan: Plan) {
  return new Map(
    plan.sources.map(source => {
      const zeros = Array.from({ length: source.partitions }, () => 0)
      return [source.name, { incarnation: 'bench', startOffsets: zeros, endOffsets: zeros }] as const
    }),
  )
}

/** Payments of the demo's generator, seeded. */
export function benchPayments(count: number, cards: number): readonly PaymentEvent[] {
  const generator = createGenerator({ seed: 7, startMs: START_MS, paymentsPerDay: cards * 2.4, cards })
  return Array.from({ length: count }, () => generator.next().event)
}
