/**
 * Bounds of what the relay accepts. They are Klaviyo's limits (API reference of 2024-10-15, "Bulk Create
 * Events" and "Bulk Import Profiles"), or the relay's own if the comment says "Ours". Klaviyo does not say
 * whether a kilobyte has 1000 or 1024 bytes; it has 1000 here, because one record that is too large fails
 * its whole batch.
 */
export const limits = {
  metricNameChars: 127,
  externalIdChars: 255,
  /** Ours: Klaviyo documents none. */
  anonymousIdChars: 255,
  uniqueIdChars: 255,
  /** RFC 5321, 4.5.3.1; the local part's 64 are in the pattern. */
  emailChars: 254,
  /** Ours. libphonenumber parses no more than 250. */
  phoneNumberChars: 255,
  /** Names directly under an event's properties, in any revision. `EventRules` has the limit of the revision in use. */
  eventProperties: 400,
  stringBytes: 100_000,
  arrayLength: 4000,
  /** Levels of objects and arrays; `properties` itself is the first. */
  nesting: 10,
  /** One serialised event with its profile. A request of 5 MB also holds the JSON around it. */
  eventBytes: 4_900_000,
  /** One serialised profile. */
  profileBytes: 100_000,
  /** Lists of one profile: each is a request element of its own. */
  listsPerProfile: 50,
  /** One year of 365 days. */
  futureMs: 365 * 86_400_000,
  /** Ours. Values in one entry, nested ones included: they are checked and serialised without a pause. */
  valuesPerEntry: 50_000,
  /** Ours. Values in one subscription or other entry of few fields. */
  valuesPerSmallEntry: 100,
  /** Ours. Klaviyo documents no limit of `custom_source`. */
  customSourceChars: 255,
  /** Ours. Names directly in an event, which has a dozen known fields; any other name is an issue. */
  eventFields: 100,
  /** Ours. The smallest event has 34 bytes, so that 5 MB never hold more entries. */
  entriesPerRequest: 150_000,
  /** Ours. Five megabytes can hold two million entries that are just `0`. */
  invalidPerRequest: 50_000,
  /** Ours. Calls in a batch of a Segment SDK. */
  callsPerRequest: 50_000,
  /** Ours. Values in one call of a Segment SDK (Segment allows 32 KB), and beside the calls of a batch. */
  valuesPerCall: 10_000,
  /** Ours. Characters beside the calls of a batch, times the number of calls. */
  sharedChars: 50_000_000,
  /** Ours. A longer text is not split into first and last name. */
  nameChars: 1000,
  /** Ours. Members of an array in a webhook, or of an object whose names the shop chooses. */
  membersPerWebhookField: 5000,
  /** Ours. Bytes of all drafts of one request of a source. */
  sourceBytes: 50_000_000,
  /** Ours. Issues listed per entry. */
  issuesPerEntry: 20,
} as const;
