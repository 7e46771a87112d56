/**
 * Codes that ISO 4217 withdrew or added lately, and that a runtime's table may therefore lack: orders
 * of the last years still carry them.
 */
const lately = ['ANG', 'BGN', 'CUC', 'HRK', 'SLE', 'SLL', 'VED', 'XCG', 'ZWG', 'ZWL'];

const codes = new Set([...Intl.supportedValuesOf('currency'), ...lately]);

export function isCurrency(code: string): boolean {
  return codes.has(code);
}
