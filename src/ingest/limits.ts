/**
 * What the relay takes at the door. Klaviyo's own limits unless said otherwise (API reference of
 * 2024-10-15, "Bulk Create Events" and "Bulk Import Profiles"); where Klaviyo does not say whether a
 * kilobyte has 1000 or 1024 bytes it is 1000 here, because one record too large fails its whole batch.
 */
export const limits = {
  metricNameChars: 127,
  externalIdChars: 255,
  uniqueIdChars: 255,
  /** RFC 5321, 4.5.3.1; the local part's 64 are in the pattern. */
  emailChars: 254,
  /** Ours. libphonenumber gives up at 250. */
  phoneNumberChars: 255,
  /** Names directly under an event's properties, those the mapping adds included. */
  eventProperties: 400,
  stringBytes: 100_000,
  arrayLength: 4000,
  /** Objects and arrays inside each other, `properties` itself being the first. */
  nesting: 10,
  /** One serialised event with its profile: what the 5 MB of a request leave after the envelope around it. */
  eventBytes: 4_900_000,
  /** One serialised profile. */
  profileBytes: 100_000,
  earliestTime: Date.UTC(2000, 0, 1),
  /** One year of 365 days. */
  futureMs: 365 * 86_400_000,
  /**
   * Ours. Five megabytes hold two million entries that are nothing but `0`, and an answer that lists
   * them would be a hundred times larger than the question. Well above what Klaviyo takes in a request.
   */
  entriesPerRequest: 50_000,
  /** Ours. Faults listed per entry. */
  faultsPerEntry: 20,
} as const;
