import { activity, loose, needsViews, policyWith, serviceWith, views, visit } from './problem-definitions.ts'
import type { Case } from './problem-definitions.ts'

/** Wrong services and policies. */
export const SERVICE_CASES: readonly Case[] = [
  [
    'HW0401',
    'no key',
    () => serviceWith({ groups: [views] }),
    'event payment has no key field "page", which names the page of group views',
  ],
  ['HW0402', 'twice', () => serviceWith({ groups: [activity, activity] }), 'group activity is listed twice'],
  ['HW0403', 'a number', () => serviceWith({ derived: { x: 5 } }), 'it is 5'],
  ['HW0404', 'a group', () => serviceWith({ derived: { x: needsViews } }), 'it looks at group views'],
  [
    'HW0404',
    'an event',
    () => serviceWith({ derived: { x: loose.derived({ request: visit }, () => 1) } }),
    'it looks at event visit, the request is payment',
  ],
  [
    'HW0404',
    "a policy's group",
    () => serviceWith({ policy: policyWith({ groups: [views] }) }),
    'policy p looks at group views',
  ],
  [
    'HW0404',
    "a policy's derived feature",
    () => serviceWith({ policy: policyWith({ derived: { x: () => 1 } }) }),
    'policy p looks at derived x',
  ],
  ['HW0405', 'no outcomes', () => policyWith({ outcomes: [] }), 'it has no outcomes'],
  ['HW0405', 'an outcome twice', () => policyWith({ outcomes: ['good', 'good'] }), 'outcome good is listed twice'],
  [
    'HW0405',
    'the fallback',
    () => policyWith({ fallback: 'worse' }),
    'fallback gives "worse"; the outcomes are good, bad',
  ],
  [
    'HW0405',
    "a rule's outcome",
    () => policyWith({ rules: [{ name: 'r', when: () => true, outcome: 'worse' }] }),
    'rule r gives "worse"',
  ],
  [
    'HW0405',
    'two rules',
    () => policyWith({ rules: [1, 2].map(() => ({ name: 'r', when: () => true, outcome: 'bad' })) }),
    'two rules are named r',
  ],
  ['HW0405', 'no rule name', () => policyWith({ rules: [{ when: () => true, outcome: 'bad' }] }), 'a rule has no name'],
  [
    'HW0405',
    'no function',
    () => policyWith({ rules: [{ name: 'r', when: true, outcome: 'bad' }] }),
    'rule r has no function `when`',
  ],
  [
    'HW0405',
    'a threshold of the best',
    () => policyWith({ thresholds: { good: 0.5 } }),
    'good is the best outcome and takes no threshold',
  ],
  [
    'HW0405',
    'falling thresholds',
    () => policyWith({ outcomes: ['good', 'bad', 'ugly'], thresholds: { bad: 0.5, ugly: 0.5 } }),
    'the threshold of ugly is not above',
  ],
  ['HW0405', 'NaN', () => policyWith({ thresholds: { bad: NaN } }), 'the threshold of bad is NaN'],
  ['HW0405', 'another threshold', () => policyWith({ thresholds: { ugly: 1 } }), 'a threshold gives "ugly"'],
  ['HW0407', 'a path', () => serviceWith({ model: '../fraud' }), 'model is "../fraud"'],
]
