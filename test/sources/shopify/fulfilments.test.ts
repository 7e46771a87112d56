import { describe, expect, it } from 'vitest';
import { aFulfilment, aFulfilmentEvent, shop } from '../../support/shopify.js';
import { entriesOf, mapTopic } from './fixture.js';

describe.each(['fulfillments/create', 'fulfillments/update'])('%s', (topic) => {
  it.each([
    ['confirmed', 'Confirmed Shipment'],
    ['out_for_delivery', 'Marked Out for Delivery'],
    ['delivered', 'Delivered Shipment'],
  ])('with the status %s becomes %s', (shipment_status, metric) => {
    expect(mapTopic(topic, aFulfilment({ shipment_status })).entries).toEqual([
      {
        lane: 'events',
        index: 0,
        personKeys: [`order:${shop}:1001`],
        entry: {
          event_name: metric,
          event_time: '2026-01-02T08:00:05-05:00',
          insert_id: 'shopify:1001:31',
          email: 'ada@klaviyo-demo.com',
          order_id: '1001',
          properties: {
            OrderId: '1001',
            FulfillmentId: '31',
            'Fulfillment Name': '#A1001.1',
            TrackingCompany: 'UPS',
            TrackingNumber: '1Z2345',
            TrackingURL: 'https://www.ups.com/track?tracknum=1Z2345',
            ItemNames: ['Linen shirt'],
            Brands: ['Acme'],
            'Item Count': 1,
            Items: [
              {
                ProductID: '601',
                SKU: 'SHIRT-S',
                ProductName: 'Linen shirt',
                'Variant Name': 'S',
                Quantity: 3,
                ItemPrice: 19.99,
                RowTotal: 59.97,
                Brand: 'Acme',
              },
            ],
          },
        },
      },
    ]);
  });

  it.each([null, 'label_printed', 'in_transit', 'failure', 7])(
    'is skipped with the status %s, for which Klaviyo has no metric',
    (shipment_status) => {
      expect(mapTopic(topic, aFulfilment({ shipment_status }))).toMatchObject({
        entries: [],
        skipped: [{ reason: 'no_shipment_status' }],
      });
    },
  );

  it('is skipped if it is cancelled', () => {
    const fulfilment = aFulfilment({ shipment_status: 'delivered', status: 'cancelled' });
    expect(mapTopic(topic, fulfilment)).toMatchObject({
      entries: [],
      skipped: [{ reason: 'cancelled' }],
    });
  });

  it('lists all tracking numbers if there are several', () => {
    const fulfilment = aFulfilment({
      shipment_status: 'delivered',
      tracking_numbers: ['1Z2345', '1Z2346'],
      tracking_urls: null,
    });
    expect(entriesOf(topic, fulfilment)[0]?.properties).toMatchObject({
      TrackingNumber: '1Z2345',
      TrackingNumbers: ['1Z2345', '1Z2346'],
      TrackingURL: 'https://www.ups.com/track?tracknum=1Z2345',
    });
  });
});

describe('fulfillment_events/create', () => {
  it('becomes the same event as the fulfilment with that status, for the buyer of the order', () => {
    const [event] = mapTopic('fulfillment_events/create', aFulfilmentEvent()).entries;
    const [update] = entriesOf(
      'fulfillments/update',
      aFulfilment({ shipment_status: 'delivered' }),
    );
    expect(event).toMatchObject({
      personKeys: [`order:${shop}:1001`],
      entry: {
        event_name: update?.event_name,
        insert_id: update?.insert_id,
        event_time: '2026-01-04T11:00:00-05:00',
        properties: { OrderId: '1001', FulfillmentId: '31', Message: 'Left at the door' },
      },
    });
  });

  it('is skipped with a status for which Klaviyo has no metric', () => {
    const event = aFulfilmentEvent({ status: 'attempted_delivery' });
    expect(mapTopic('fulfillment_events/create', event)).toMatchObject({
      entries: [],
      skipped: [{ reason: 'no_shipment_status' }],
    });
  });
});
