import { stringifyJson } from '../../json/json.js';
import type { EventRule, GenericSection, ProfileRule, Verify, Webhook } from './section.js';

/** Describes the section `generic` for `klaviyo-relay check`, one line for each webhook and rule. */
export function explainGeneric(section: GenericSection | undefined): readonly string[] {
  const webhooks = Object.entries(section ?? {});
  if (webhooks.length === 0) return ['no webhooks'];
  return webhooks.flatMap(([name, webhook]) => [
    `/webhooks/generic/${name}: ${describeVerify(webhook.verify)}`,
    ...describeRules(webhook).map((line) => `${name}: ${line}`),
  ]);
}

function describeVerify({ hmac, token }: Verify): string {
  if (hmac !== undefined) {
    const isTimed = hmac.timestampHeader ?? hmac.timestampKey;
    const age = isTimed === undefined ? '' : `, not older than ${hmac.toleranceSeconds} s`;
    return `HMAC-${hmac.algorithm.toUpperCase()} of ${hmac.signed} in ${hmac.header}${age}`;
  }
  if (token?.query !== undefined) return `a token in the query, ${token.query}`;
  return `a token in ${token?.header ?? 'Authorization'}`;
}

function describeRules({ events, profiles }: Webhook): readonly string[] {
  return [
    ...events.map(
      (rule) => `event ${describeExpression(rule.event_name)}${describeConditions(rule)}`,
    ),
    ...profiles.map((rule) => `profile${describeConditions(rule)}`),
  ];
}

function describeConditions({ when, each }: EventRule | ProfileRule): string {
  const conditions = Object.entries(when).map(
    ([text, condition]) => `${text} is ${stringifyJson(condition)}`,
  );
  return [
    ...(each === undefined ? [] : [` for each ${each}`]),
    ...(conditions.length === 0 ? [] : [` where ${conditions.join(' and ')}`]),
  ].join('');
}

const describeExpression = (text: unknown): string =>
  typeof text === 'string' ? text : stringifyJson(text);
