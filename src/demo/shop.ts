import { createSeededRandom } from '../sandbox/faults.js';

/** The lanes of the demo, in the order of its summary. */
export const demoLanes = ['events', 'profiles', 'subscribe', 'unsubscribe'] as const;

/** An entry of a lane, as a shop would post it. */
export type Post = {
  readonly lane: (typeof demoLanes)[number];
  readonly body: Readonly<Record<string, unknown>>;
};

export type ShopTraffic = {
  readonly posts: readonly Post[];
  /** Subscribers who unsubscribe at the end of the day, after everything else. */
  readonly unsubscriptions: readonly Post[];
  /** Deliberate errors, by kind. */
  readonly planted: Readonly<Record<Planted, number>>;
};

export type Planted =
  | 'repeated events'
  | 'invalid entries'
  | 'unusable phone numbers'
  | 'rejected by Klaviyo at once'
  | 'rejected by Klaviyo in an import job';

/** Marks the entries that the sandbox rejects, so that the demo has dead letters to show. */
export const unsupportedRegion = 'warehouse-11';
export const suppressed = 'do-not-import';

const firstNames = [
  'Ada',
  'Bo',
  'Chidi',
  'Dana',
  'Elif',
  'Femi',
  'Grace',
  'Hugo',
  'Ines',
  'Jun',
  'Kai',
  'Lena',
  'Mina',
  'Noor',
];
const lastNames = [
  'Abe',
  'Berg',
  'Costa',
  'Diaz',
  'Ekberg',
  'Fox',
  'Garcia',
  'Haas',
  'Ito',
  'Jansen',
  'Kovacs',
  'Lund',
];
const products = [
  { ProductID: 'SKU-101', ProductName: 'Linen shirt', price: 49.9 },
  { ProductID: 'SKU-204', ProductName: 'Wool socks', price: 12.5 },
  { ProductID: 'SKU-317', ProductName: 'Rain jacket', price: 129 },
  { ProductID: 'SKU-442', ProductName: 'Canvas bag', price: 35.25 },
] as const;
const cities = [
  {
    city: 'Boston',
    region: 'MA',
    country: 'United States',
    zip: '02110',
    timezone: 'America/New_York',
  },
  {
    city: 'Austin',
    region: 'TX',
    country: 'United States',
    zip: '78701',
    timezone: 'America/Chicago',
  },
  { city: 'Berlin', country: 'Germany', zip: '10115', timezone: 'Europe/Berlin' },
];

/**
 * A day of a small shop: `shoppers` people browse, buy and change their profile. A third of the buyers
 * consent to the newsletter at the checkout. The same seed produces the same shop.
 */
export function createShopTraffic({
  shoppers,
  seed,
  now,
}: {
  shoppers: number;
  seed: number;
  now: number;
}): ShopTraffic {
  const random = createSeededRandom(seed);
  const posts: Post[] = [];
  const unsubscriptions: Post[] = [];
  const planted = {
    'repeated events': 0,
    'invalid entries': 0,
    'unusable phone numbers': 0,
    'rejected by Klaviyo at once': 0,
    'rejected by Klaviyo in an import job': 0,
  };
  const plantError = (kind: Planted, ...posted: readonly Post[]): void => {
    planted[kind]++;
    posts.push(...posted);
  };
  for (let number = 1; number <= shoppers; number++) {
    const shopper = createShopper(number, random);
    const visit = createVisit(shopper, { random, now });
    posts.push(...visit);
    const order = visit.find(({ body }) => body.event_name === 'Placed Order');
    if (order !== undefined && number % 3 === 0) {
      const consent = { ...shopper.who, ...newsletter };
      posts.push({ lane: 'subscribe', body: { ...consent, custom_source: 'Checkout' } });
      if (number % 15 === 0) unsubscriptions.push({ lane: 'unsubscribe', body: consent });
    }
    if (order !== undefined && number % 7 === 0) plantError('repeated events', order);
    if (number % 60 === 0)
      plantError('invalid entries', event('Viewed Product', { email: 'not an address' }));
    if (number % 90 === 0)
      plantError('invalid entries', event('Placed Order', { ...shopper.who, valeu: 10 }));
    if (number % 80 === 0) {
      plantError('unusable phone numbers', profile({ ...shopper.who, phone_number: 'call me' }));
    }
    if (number % 150 === 0) {
      const properties = { Warehouse: unsupportedRegion };
      plantError(
        'rejected by Klaviyo at once',
        event('Placed Order', { ...shopper.who, properties }),
      );
    }
    if (number % 200 === 0) {
      const distinct_id = `banned-${number}`;
      plantError(
        'rejected by Klaviyo in an import job',
        profile({ distinct_id, title: suppressed }),
      );
    }
  }
  return { posts, unsubscriptions, planted };
}

const event = (event_name: string, rest: Post['body']): Post => ({
  lane: 'events',
  body: { event_name, ...rest },
});
const newsletter = { channels: { email: ['marketing'] }, list_id: 'NewsLt' };
const profile = (body: Post['body']): Post => ({ lane: 'profiles', body });

type Shopper = {
  readonly who: { readonly email: string; readonly distinct_id: string };
  readonly about: Post['body'];
};

function createShopper(number: number, random: () => number): Shopper {
  const first_name = pickOne(firstNames, random);
  const last_name = pickOne(lastNames, random);
  const who = {
    email: `${first_name}.${last_name}.${number}@klaviyo-demo.com`.toLowerCase(),
    distinct_id: `cust-${number}`,
  };
  const phone_number = `+1617555${String(1000 + (number % 9000))}`;
  return {
    who,
    about: { ...who, first_name, last_name, phone_number, location: pickOne(cities, random) },
  };
}

/** The visit of one shopper: arrives, browses, perhaps buys; the profile changes on the way. */
function createVisit(
  { who, about }: Shopper,
  { random, now }: { random: () => number; now: number },
): readonly Post[] {
  const basket = products.filter(() => random() < 0.5);
  const event_time = new Date(now - Math.floor(random() * 86_400_000)).toISOString();
  const visit: Post[] = [profile(about)];
  for (const { price, ...product } of basket) {
    visit.push(
      event('Viewed Product', { ...who, event_time, properties: { ...product, Price: price } }),
    );
  }
  if (basket.length === 0 || random() < 0.4) return visit;
  visit.push(
    event('Started Checkout', { ...who, event_time, value: total(basket), currency: 'USD' }),
  );
  if (random() < 0.3) return visit;
  const order_id = `${who.distinct_id}-${Math.floor(random() * 1e6)}`;
  visit.push(
    event('Placed Order', {
      ...who,
      event_time,
      order_id,
      insert_id: order_id,
      value: total(basket),
      currency: 'USD',
      properties: { Items: basket.map(({ ProductName }) => ProductName), ItemCount: basket.length },
    }),
    profile({ ...who, last_order_at: event_time, plan: 'customer' }),
  );
  return visit;
}

const total = (basket: readonly { readonly price: number }[]): number =>
  Math.round(basket.reduce((sum, { price }) => sum + price * 100, 0)) / 100;

function pickOne<T>(from: readonly [T, ...T[]] | readonly T[], random: () => number): T {
  const picked = from[Math.floor(random() * from.length)];
  if (picked === undefined) throw new RangeError('cannot pick from an empty list');
  return picked;
}
