import type { ModelManifest } from '../../topology/ports/model-repository.ts'

/** A manifest of a model with two inputs, and a reference for its score. */
export function manifest(version: string): ModelManifest {
  return {
    name: 'fraud',
    version,
    inputs: [
      { name: 'request.amount', default: -1 },
      { name: 'card_activity.payments_1h', default: 0 },
    ],
    scoreOutput: 'probabilities',
    planHash: 'plan',
    trainedAt: '2025-03-18T00:00:00Z',
    rows: 10_000,
    metrics: {},
    reference: [
      { feature: 'request.amount', edges: [0.1 + 0.2, 20, 99.99], counts: [1000, 3000, 3000, 2900], missing: 100 },
      { feature: 'card_activity.payments_1h', edges: [0, 2], counts: [0, 6500, 3500], missing: 0 },
      { feature: 'score', edges: [0.5], counts: [9000, 1000], missing: 0 },
    ],
    checksums: {},
  }
}
