import type { Problem } from './plan.ts'

/** What can be wrong with definitions: code, title and what helps. HW09xx are warnings, which do not stop a plan. */
export const PROBLEMS = {
  HW0001: { title: 'No such module', remedy: 'write the module, or correct `features` in the configuration' },
  HW0002: { title: 'A module cannot be loaded', remedy: 'correct the module so that it can be loaded' },
  HW0003: { title: 'Nothing is defined', remedy: 'export at least one event, entity, group or service from a module' },
  HW0101: {
    title: 'A name has the wrong form',
    remedy: 'use 1 to 64 lower-case letters, digits and underscores, a letter first',
  },
  HW0102: { title: 'A name is reserved', remedy: 'choose another name' },
  HW0103: { title: 'A name is taken', remedy: 'rename one of the two, or export the same definition from both files' },
  HW0104: {
    title: 'A definition is expected',
    remedy:
      'pass what event(), union(), entity(), group() or policy() returned; undefined often means a circular import',
  },
  HW0105: { title: 'An option is not known', remedy: 'remove the option, or correct its name' },
  HW0201: {
    title: 'A field has the wrong name or type',
    remedy: 'name fields by 1 to 64 letters, digits and underscores, a letter first, and give each a type of `t`',
  },
  HW0202: { title: 'A field that is named is not there', remedy: 'name a field of the event, or add it to `fields`' },
  HW0203: {
    title: 'A field cannot serve as id, time or key',
    remedy: 'id and key are string, int or int64, time is a timestamp; none may be optional',
  },
  HW0204: { title: 'A duration is malformed', remedy: "write a whole number and a unit: '30s', '5m', '24h' or '7d'" },
  HW0205: { title: 'A duration is out of bounds', remedy: 'stay within the bounds that the message states' },
  HW0206: { title: 'A number of partitions is out of bounds', remedy: 'use a whole number from 1 to 1024' },
  HW0207: {
    title: 'A topic name has the wrong form',
    remedy: 'use 1 to 200 letters, digits, dots, underscores and hyphens',
  },
  HW0208: {
    title: 'A parameter of a field type is out of bounds',
    remedy: 'a decimal has a scale of 0 to 9, a vector 1 to 4096 elements',
  },
  HW0209: { title: 'A topic is taken', remedy: 'give each event a topic of its own' },
  HW0210: {
    title: 'An option has a value that is not allowed',
    remedy: 'use one of the values that the message lists',
  },
  HW0211: { title: 'A number is out of bounds', remedy: 'stay within the bounds that the message states' },
  HW0212: { title: 'A union does not list its events', remedy: 'list 1 to 16 events in `from`, each once' },
  HW0213: {
    title: 'A field of a union is not mapped',
    remedy: 'map each field of the union to a field of the event, unless the event has one of the same name',
  },
  HW0214: {
    title: 'A field of an event does not fit the union',
    remedy:
      'map a field of the same type, with the same scale or length, and make the field optional where the event has it so',
  },
  HW0215: {
    title: 'A composite key is malformed',
    remedy: 'list the names of 1 to 8 different fields',
  },
  HW0301: {
    title: "A group's source has no field with the entity's key",
    remedy: 'say which field holds the key with `key`, or add the field to the event or union',
  },
  HW0302: { title: 'A field cannot hold an entity key', remedy: 'use a field of type string, int or int64' },
  HW0303: { title: 'A feature looks at a field that is not there', remedy: "use a field of the group's source" },
  HW0304: { title: 'An aggregator cannot take this field', remedy: 'use a field of a type that the message lists' },
  HW0305: { title: 'A parameter of an aggregator is wrong', remedy: 'stay within what the message states' },
  HW0306: { title: 'The value for an empty window is wrong', remedy: "give a value of the feature's own type" },
  HW0307: { title: 'A `where` is wrong', remedy: 'build it from the columns of `e`, with values of the same type' },
  HW0308: {
    title: 'The features of a group cannot be listed',
    remedy: 'return an object of features, each made by an aggregator of `e`',
  },
  HW0309: { title: 'A group has no features', remedy: 'add a feature, or remove the group' },
  HW0310: {
    title: 'A window is wrong',
    remedy:
      "write a duration, 'lifetime', tumbling(length, { lookback }), session(gap, { maxLength }) or lastEvents(count, { within })",
  },
  HW0311: {
    title: 'An edge does not fit its window',
    remedy: 'give `edge` to sliding windows alone, from 1s up to the length of the window',
  },
  HW0312: {
    title: 'An aggregator cannot look at this window',
    remedy: 'use a window of the kinds that the message lists',
  },
  HW0313: {
    title: 'An aggregator over the order of events reaches too far back over several partitions',
    remedy:
      'shorten the window to at most 7d, or publish the events under a topic that is keyed by the entity and use that as source',
  },
  HW0314: {
    title: 'An exact window takes too much room',
    remedy: "declare an `edge` such as '1h', shorten the window, or raise maxBytesPerEntity of the group",
  },
  HW0315: {
    title: "The key of a group does not fit the entity's",
    remedy: "list as many fields as the entity's key has, in the same order",
  },
  HW0401: {
    title: 'A service cannot find the entity of a group',
    remedy: "add a field with the entity's key to the request event, or take the group out of the service",
  },
  HW0402: { title: 'A service lists a group twice', remedy: 'list each group once' },
  HW0403: { title: 'A derived feature is not a function', remedy: 'give `v => value`, or what derived() returned' },
  HW0404: {
    title: 'A derived feature or policy looks at more than its service has',
    remedy: 'add what is missing to the service',
  },
  HW0405: { title: 'A policy is wrong', remedy: 'correct its outcomes, rules, thresholds or fallback' },
  HW0406: {
    title: 'The code of a service has no hash',
    remedy: 'pass the bundle hash of every module to the compiler',
  },
  HW0407: {
    title: 'The name of a model has the wrong form',
    remedy: 'use letters, digits, dots, underscores and hyphens',
  },
  HW0408: {
    title: 'A union cannot be scored',
    remedy: 'take one of its events as request: it joins the windows of the groups over the union',
  },
  HW0901: {
    title: 'A feature may leak its label',
    remedy: 'give the feature a `delay` as long as the label takes to become known',
  },
} as const

/** A code of the table, such as `HW0103`. */
export type ProblemCode = keyof typeof PROBLEMS

/** Notes one problem; `where` is such as `group card_activity, feature spend_24h`, `remedy` the code's unless given. */
export type Report = (code: ProblemCode, where: string, message: string, remedy?: string) => void

/** A report that appends to `problems` in the name of a file. */
export function reporter(file: string, problems: Problem[]): Report {
  return (code, where, message, remedy = PROBLEMS[code].remedy) => {
    problems.push({ code, file, where, message, remedy })
  }
}
