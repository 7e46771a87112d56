/**
 * What the relay takes at the door. Klaviyo's own limits unless said otherwise (API reference of
 * 2024-10-15, "Bulk Create Events" and "Bulk Import Profiles"); where Klaviyo does not say whether a
 * kilobyte has 1000 or 1024 bytes it is 1000 here, because one record too large fails its whole batch.
 */
export const limits = {
  metricNameChars: 127,
  externalIdChars: 255,
  /** Ours: Klaviyo documents none. */
  anonymousIdChars: 255,
  uniqueIdChars: 255,
  /** RFC 5321, 4.5.3.1; the local part's 64 are in the pattern. */
  emailChars: 254,
  /** Ours. libphonenumber gives up at 250. */
  phoneNumberChars: 255,
  /** Names directly under an event's properties, in any revision (`EventRules` has those of the one in use). */
  eventProperties: 400,
  stringBytes: 100_000,
  arrayLength: 4000,
  /** Objects and arrays inside each other, `properties` itself being the first. */
  nesting: 10,
  /** One serialised event with its profile: what the 5 MB of a request leave after the envelope around it. */
  eventBytes: 4_900_000,
  /** One serialised profile. */
  profileBytes: 100_000,
  /** One year of 365 days. */
  futureMs: 365 * 86_400_000,
  /** Ours. Values in one entry, nested ones included: they are checked and serialised in one go. */
  valuesPerEntry: 50_000,
  /** Ours. Names directly in an event; it has a dozen fields, and all others are refused. */
  eventFields: 100,
  /** Ours. The smallest event has 34 bytes, so that more than these never fit into 5 MB. */
  entriesPerRequest: 150_000,
  /** Ours. Five megabytes hold two million entries that are nothing but `0`. */
  invalidPerRequest: 50_000,
  /** Ours. Calls in a batch of a Segment SDK. */
  callsPerRequest: 50_000,
  /** Ours. Values in one call of a Segment SDK, for which Segment allows 32 KB, and beside a batch. */
  valuesPerCall: 10_000,
  /** Ours. Characters that stand beside the calls of a batch, times their number. */
  sharedChars: 50_000_000,
  /** Ours. A longer text is not cut into first and last name. */
  nameChars: 1000,
  /** Ours. Members of an array in a webhook, or of an object of the shop's own pairs. */
  membersPerWebhookField: 5000,
  /** Ours. Bytes that all entries of one request of a source come to. */
  sourceBytes: 50_000_000,
  /** Ours. Faults listed per entry. */
  issuesPerEntry: 20,
} as const;
