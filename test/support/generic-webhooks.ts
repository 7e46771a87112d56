import { createHmac } from 'node:crypto';

/**
 * Systems that post JSON: for each its signature, a payload of its documentation with the fields that
 * are read, and a mapping. `sign` returns the headers and the query of a request.
 */
export type System = {
  readonly secret: string;
  readonly mapping: unknown;
  readonly payload: unknown;
  readonly sign: (
    body: string,
    secret: string,
    seconds: number,
  ) => { readonly headers?: Readonly<Record<string, string>>; readonly query?: string };
  /** Expected members of the entries. */
  readonly entries: readonly unknown[];
};

const hmac = (secret: string | Buffer, content: string, encoding: 'hex' | 'base64' = 'hex') =>
  createHmac('sha256', secret).update(content).digest(encoding);

const email = 'ada@klaviyo-demo.com';

export const systems: Readonly<Record<string, System>> = {
  github: {
    secret: "It's a Secret to Everybody",
    mapping: {
      verify: { hmac: { header: 'X-Hub-Signature-256', prefix: 'sha256=' } },
      kind: 'header:X-GitHub-Event',
      delivery: 'header:X-GitHub-Delivery',
      events: [
        {
          when: { 'header:X-GitHub-Event': 'sponsorship', '$.action': 'created' },
          event_name: 'Sponsored',
          distinct_id: 'github-{$.sponsorship.sponsor.id}',
          insert_id: '$.sponsorship.node_id',
          event_time: '$.sponsorship.created_at',
          properties: {
            Tier: '$.sponsorship.tier.name',
            Login: '$.sponsorship.sponsor.login',
          },
        },
      ],
    },
    payload: {
      action: 'created',
      sponsorship: {
        node_id: 'MDExOlNwb25zb3JzaGlwMQ==',
        created_at: '2026-01-10T20:24:51+00:00',
        sponsor: { login: 'octocat', id: 583231, type: 'User' },
        tier: { name: '$5 a month', monthly_price_in_cents: 500 },
      },
    },
    sign: (body, secret) => ({
      headers: {
        'x-github-event': 'sponsorship',
        'x-github-delivery': '72d3162e-cc78-11e3-81ab-4c9367dc0958',
        'x-hub-signature-256': `sha256=${hmac(secret, body)}`,
      },
    }),
    entries: [
      {
        event_name: 'Sponsored',
        distinct_id: 'github-583231',
        insert_id: 'MDExOlNwb25zb3JzaGlwMQ==',
        event_time: '2026-01-10T20:24:51.000Z',
        properties: { Tier: '$5 a month', Login: 'octocat' },
      },
    ],
  },
  typeform: {
    secret: 'typeform-secret-1',
    mapping: {
      verify: { hmac: { header: 'Typeform-Signature', prefix: 'sha256=', encoding: 'base64' } },
      kind: '$.event_type',
      events: [
        {
          when: { '$.event_type': 'form_response' },
          event_name: 'Filled Out Form',
          email: "$.form_response.answers[?@.type == 'email'].email",
          insert_id: '$.form_response.token',
          event_time: '$.form_response.submitted_at',
          properties: {
            Form: '$.form_response.definition.title',
            Choices: { $all: "$.form_response.answers[?@.type == 'choice'].choice.label" },
          },
        },
      ],
    },
    payload: {
      event_id: 'LtWXD3crgy',
      event_type: 'form_response',
      form_response: {
        form_id: 'lT4Z3j',
        token: 'a3a12ec67a1365927098a606107fac15',
        submitted_at: '2026-01-10T18:17:02Z',
        definition: { id: 'lT4Z3j', title: 'Webhooks example' },
        answers: [
          { type: 'text', text: "It's cold right now", field: { id: 'DlXFaesGBpoF' } },
          { type: 'email', email, field: { id: 'SMEUb7VJz92Q' } },
          { type: 'choice', choice: { label: 'London' }, field: { id: 'k6TP9oLGgHjl' } },
          { type: 'choice', choice: { label: 'Sydney' }, field: { id: 'x5TP9oLGgHjl' } },
        ],
      },
    },
    sign: (body, secret) => ({
      headers: { 'typeform-signature': `sha256=${hmac(secret, body, 'base64')}` },
    }),
    entries: [
      {
        event_name: 'Filled Out Form',
        email,
        insert_id: 'a3a12ec67a1365927098a606107fac15',
        properties: { Form: 'Webhooks example', Choices: ['London', 'Sydney'] },
      },
    ],
  },
  calendly: {
    secret: 'calendly-signing-key',
    mapping: {
      verify: {
        hmac: {
          header: 'Calendly-Webhook-Signature',
          key: 'v1',
          timestampKey: 't',
          signed: '{timestamp}.{body}',
        },
      },
      kind: '$.event',
      events: [
        {
          when: { '$.event': ['invitee.created', 'invitee.canceled'] },
          event_name: 'Calendly {$.event}',
          email: '$.payload.email',
          insert_id: '{$.payload.uri}#{$.event}',
          event_time: '$.created_at',
          properties: { Meeting: '$.payload.scheduled_event.name' },
        },
      ],
      profiles: [
        {
          when: { '$.event': 'invitee.created' },
          email: '$.payload.email',
          first_name: ['$.payload.first_name', '$.payload.name'],
          location: { timezone: '$.payload.timezone' },
        },
      ],
    },
    payload: {
      event: 'invitee.created',
      created_at: '2026-01-11T12:00:00.000000Z',
      payload: {
        uri: 'https://api.calendly.com/scheduled_events/AAA/invitees/BBB',
        email,
        name: 'Ada Lovelace',
        first_name: null,
        timezone: 'America/New_York',
        scheduled_event: { name: '15 Minute Meeting' },
      },
    },
    sign: (body, secret, seconds) => ({
      headers: {
        'calendly-webhook-signature': `t=${seconds},v1=${hmac(secret, `${seconds}.${body}`)}`,
      },
    }),
    entries: [
      {
        event_name: 'Calendly invitee.created',
        email,
        insert_id: 'https://api.calendly.com/scheduled_events/AAA/invitees/BBB#invitee.created',
        properties: { Meeting: '15 Minute Meeting' },
      },
      { email, first_name: 'Ada Lovelace', location: { timezone: 'America/New_York' } },
    ],
  },
  paddle: {
    secret: 'pdl_ntfset_01hx_secret',
    mapping: {
      verify: {
        hmac: {
          header: 'Paddle-Signature',
          key: 'h1',
          timestampKey: 'ts',
          signed: '{timestamp}:{body}',
          toleranceSeconds: 5,
        },
      },
      kind: '$.event_type',
      delivery: '$.event_id',
      events: [
        {
          when: { '$.event_type': 'transaction.completed' },
          event_name: 'Placed Order',
          person_from: { customer: '$.data.customer_id' },
          insert_id: 'paddle-{$.data.id}',
          event_time: '$.data.billed_at',
          value: '$.data.details.totals.grand_total',
          currency: '$.data.currency_code',
          amounts: 'minor',
          order_id: '$.data.id',
          properties: { Items: { $all: '$.data.items[*].price.description' } },
          remember: { order: '$.data.id' },
        },
        {
          when: { '$.event_type': 'transaction.completed' },
          each: '$.data.items',
          event_name: 'Ordered Product',
          person_from: { customer: '$.data.customer_id' },
          insert_id: 'paddle-{$.data.id}-{@.price.id}',
          properties: { ProductID: '@.price.product_id', Quantity: '@.quantity' },
        },
      ],
    },
    payload: {
      event_id: 'evt_01hv8wptq8987qeep44cyrewp9',
      event_type: 'transaction.completed',
      occurred_at: '2026-01-12T10:20:19.000000Z',
      data: {
        id: 'txn_01hv8wptq8987qeep44cyrewp9',
        status: 'completed',
        customer_id: 'ctm_01hv6y1jedq4p1n0yqn5ba3ky4',
        currency_code: 'JPY',
        billed_at: '2026-01-12T10:18:48.831Z',
        details: { totals: { subtotal: '2720', tax: '272', grand_total: '2992' } },
        items: [
          {
            quantity: 10,
            price: {
              id: 'pri_01gsz8x8sawmvhz1pv30nge1ke',
              product_id: 'pro_01gsz4t5hdjse780zja8vvr7jg',
              description: 'Monthly',
            },
          },
        ],
      },
    },
    sign: (body, secret, seconds) => ({
      headers: {
        'paddle-signature': `ts=${seconds};h1=${hmac(secret, `${seconds}:${body}`)};h1=${hmac('old-secret', body)}`,
      },
    }),
    entries: [
      {
        event_name: 'Placed Order',
        insert_id: 'paddle-txn_01hv8wptq8987qeep44cyrewp9',
        event_time: '2026-01-12T10:18:48.831Z',
        value: 2992,
        currency: 'JPY',
        properties: { Items: ['Monthly'] },
      },
      {
        event_name: 'Ordered Product',
        properties: { ProductID: 'pro_01gsz4t5hdjse780zja8vvr7jg', Quantity: 10 },
      },
    ],
  },
  chargebee: {
    secret: 'relay:a-long-password',
    mapping: {
      verify: { token: { basic: true } },
      kind: '$.event_type',
      delivery: '$.id',
      events: [
        {
          when: { '$.event_type': 'payment_succeeded' },
          event_name: 'Successfully Paid',
          email: '$.content.customer.email',
          distinct_id: '$.content.customer.id',
          insert_id: '$.content.transaction.id',
          event_time: '$.content.transaction.date',
          value: '$.content.transaction.amount',
          currency: '$.content.transaction.currency_code',
          amounts: 'minor',
        },
      ],
    },
    payload: {
      id: 'ev_16BPgETyVrQbiGhA',
      occurred_at: 1768200000,
      event_type: 'payment_succeeded',
      content: {
        transaction: {
          id: 'txn_16BPgETyVrQVHGh1',
          amount: 1200,
          currency_code: 'USD',
          date: 1768200000,
        },
        customer: { id: 'cbdemo_ada', email },
      },
    },
    sign: (_, secret) => ({
      headers: { authorization: `Basic ${Buffer.from(secret).toString('base64')}` },
    }),
    entries: [
      {
        event_name: 'Successfully Paid',
        email,
        distinct_id: 'cbdemo_ada',
        value: 12,
        currency: 'USD',
        event_time: '2026-01-12T06:40:00.000Z',
      },
    ],
  },
  bigcommerce: {
    secret: 'bigcommerce-header-token',
    mapping: {
      verify: { token: { header: 'X-Relay-Token' } },
      kind: '$.scope',
      delivery: '$.hash',
      events: [
        {
          when: { '$.scope': 'store/order/statusUpdated', '$.data.status.new_status_id': 2 },
          event_name: 'Shipped Order',
          person_from: { order: '$.data.id' },
          insert_id: 'bigcommerce-{$.data.id}',
          event_time: '$.created_at',
        },
      ],
    },
    payload: {
      scope: 'store/order/statusUpdated',
      store_id: '1025646',
      data: { type: 'order', id: 250, status: { previous_status_id: 0, new_status_id: 2 } },
      hash: '7ee67cd1cf2ca60bc1aa9e5fe957d2de373be4ca',
      created_at: 1768200000,
    },
    sign: (_, secret) => ({ headers: { 'x-relay-token': secret } }),
    entries: [{ event_name: 'Shipped Order', insert_id: 'bigcommerce-250' }],
  },
  clerk: {
    secret: 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw',
    mapping: {
      verify: {
        hmac: {
          header: 'svix-signature',
          prefix: 'v1,',
          encoding: 'base64',
          secretEncoding: 'base64',
          signed: '{id}.{timestamp}.{body}',
          idHeader: 'svix-id',
          timestampHeader: 'svix-timestamp',
        },
      },
      kind: '$.type',
      delivery: 'header:svix-id',
      profiles: [
        {
          when: { '$.type': ['user.created', 'user.updated'] },
          email: '$.data.email_addresses[0].email_address',
          distinct_id: '$.data.id',
          first_name: '$.data.first_name',
          image: '$.data.image_url',
          remember: { user: '$.data.id' },
        },
      ],
    },
    payload: {
      type: 'user.created',
      data: {
        id: 'user_29w83sxmDNGwOuEthce5gg56FcC',
        email_addresses: [{ email_address: email, id: 'idn_29w83yL7CwVlJXylYLxcslromF1' }],
        first_name: 'Ada',
        image_url: 'https://img.clerk.com/xxxxxx',
      },
    },
    sign: (body, secret, seconds) => {
      const key = Buffer.from(secret.replace('whsec_', ''), 'base64');
      return {
        headers: {
          'svix-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
          'svix-timestamp': String(seconds),
          'svix-signature': `v1,${hmac('another', body, 'base64')} v1,${hmac(key, `msg_p5jXN8AQM9LWM0D4loKWxJek.${seconds}.${body}`, 'base64')}`,
        },
      };
    },
    entries: [{ email, distinct_id: 'user_29w83sxmDNGwOuEthce5gg56FcC', first_name: 'Ada' }],
  },
  lemonsqueezy: {
    secret: 'lemon-secret-0123',
    mapping: {
      verify: { hmac: { header: 'X-Signature' } },
      kind: '$.meta.event_name',
      events: [
        {
          when: { '$.meta.event_name': 'order_created', '$.data.attributes.test_mode': false },
          event_name: 'Placed Order',
          email: '$.data.attributes.user_email',
          insert_id: 'lemon-{$.data.id}',
          event_time: '$.data.attributes.created_at',
          value: '$.data.attributes.total',
          currency: '$.data.attributes.currency',
          amounts: 'minor',
          total_amount: '$.data.attributes.total',
        },
      ],
    },
    payload: {
      meta: { event_name: 'order_created' },
      data: {
        type: 'orders',
        id: '1',
        attributes: {
          user_email: email,
          currency: 'USD',
          total: 999,
          test_mode: false,
          created_at: '2026-01-12T10:20:19.000000Z',
        },
      },
    },
    sign: (body, secret) => ({ headers: { 'x-signature': hmac(secret, body) } }),
    entries: [{ event_name: 'Placed Order', email, value: 9.99, total_amount: 9.99 }],
  },
  zendesk: {
    secret: 'zendesk-signing-secret',
    mapping: {
      verify: {
        hmac: {
          header: 'X-Zendesk-Webhook-Signature',
          encoding: 'base64',
          signed: '{timestamp}{body}',
          timestampHeader: 'X-Zendesk-Webhook-Signature-Timestamp',
        },
      },
      events: [
        {
          when: { '$.type': 'zen:event-type:ticket.created' },
          event_name: 'Opened Ticket',
          email: '$.detail.requester.email',
          insert_id: '$.id',
          event_time: '$.time',
          properties: { Subject: '$.detail.subject' },
        },
      ],
    },
    payload: {
      type: 'zen:event-type:ticket.created',
      id: '9dbff8b9-2b4f-4e7e-8a8e-9b1b7f1f0b33',
      time: '2026-01-12T10:20:19.073Z',
      detail: { subject: 'Where is it?', requester: { email } },
    },
    sign: (body, secret, seconds) => {
      const time = new Date(seconds * 1000).toISOString();
      return {
        headers: {
          'x-zendesk-webhook-signature-timestamp': time,
          'x-zendesk-webhook-signature': hmac(secret, `${time}${body}`, 'base64'),
        },
      };
    },
    entries: [{ event_name: 'Opened Ticket', email, properties: { Subject: 'Where is it?' } }],
  },
  tally: {
    secret: 'a-token-in-the-url',
    mapping: {
      verify: { token: { query: 'token' } },
      events: [
        { event_name: 'Answered Survey', email: "$.data.fields[?@.type == 'INPUT_EMAIL'].value" },
      ],
    },
    payload: {
      eventType: 'FORM_RESPONSE',
      data: { responseId: '2wgx4n', fields: [{ key: 'q_1', type: 'INPUT_EMAIL', value: email }] },
    },
    sign: (_, secret) => ({ query: `?token=${encodeURIComponent(secret)}` }),
    entries: [{ event_name: 'Answered Survey', email }],
  },
};
