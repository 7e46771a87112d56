import RudderAnalytics from '@rudderstack/rudder-sdk-node';
import { Analytics } from '@segment/analytics-node';
import { Analytics as Analytics1 } from 'segment-node-1';
import { Analytics as Analytics2 } from 'segment-node-2';

/** The calls that the SDKs under test have in common. */
type Calls = {
  identify(call: { userId: string; traits: Record<string, string> }): unknown;
  track(call: { userId: string; event: string; properties: Record<string, string> }): unknown;
  page(call: { userId: string; name: string }): unknown;
  screen(call: { userId: string; name: string }): unknown;
  group(call: { userId: string; groupId: string }): unknown;
  alias(call: { userId: string; previousId: string }): unknown;
};

/** An unmodified SDK that sends its calls to a relay, with its own timers. */
export type SdkClient = Calls & {
  /** Resolves once each call has been sent or dropped. */
  flush(): Promise<unknown>;
};

export type Sdk = {
  readonly name: string;
  /** Connects the SDK to a relay as the guide describes. */
  connect(url: string, writeKey: string): SdkClient;
};

/** More than the default of 3, because a restart of the relay takes longer than three retries. */
const maxRetries = 10;

const withFlush = (analytics: Calls & { closeAndFlush(): Promise<unknown> }): SdkClient => ({
  identify: (call) => analytics.identify(call),
  track: (call) => analytics.track(call),
  page: (call) => analytics.page(call),
  screen: (call) => analytics.screen(call),
  group: (call) => analytics.group(call),
  alias: (call) => analytics.alias(call),
  flush: () => analytics.closeAndFlush(),
});

export const sdks: readonly Sdk[] = [
  {
    name: '@segment/analytics-node 1.3.0',
    connect: (host, writeKey) => withFlush(new Analytics1({ writeKey, host, maxRetries })),
  },
  {
    name: '@segment/analytics-node 2.3.0',
    connect: (host, writeKey) => withFlush(new Analytics2({ writeKey, host, maxRetries })),
  },
  {
    name: '@segment/analytics-node 3.1.0',
    connect: (host, writeKey) => withFlush(new Analytics({ writeKey, host })),
  },
  {
    name: '@rudderstack/rudder-sdk-node 3.0.13',
    connect: (dataPlaneUrl, writeKey) =>
      new RudderAnalytics(writeKey, {
        dataPlaneUrl,
        retryCount: maxRetries,
        // By default the SDK prints each failed response.
        logLevel: 'none',
      }),
  },
];

/** Makes one call of each type for one user. */
export function callAll(client: SdkClient, userId: string): void {
  client.identify({ userId, traits: { email: `${userId}@klaviyo-demo.com`, plan: 'gold' } });
  client.track({
    userId,
    event: 'Order Completed',
    properties: { orderId: `order-${userId}`, revenue: '19.99', currency: 'USD' },
  });
  client.page({ userId, name: 'Home' });
  client.screen({ userId, name: 'Cart' });
  client.group({ userId, groupId: 'g-1' });
  client.alias({ userId, previousId: 'a-1' });
}

/** The metrics that Klaviyo records for `callAll`, one event each. */
export const expectedMetrics = ['Placed Order', 'Viewed Cart Screen', 'Viewed Home Page'];
