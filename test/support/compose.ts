/** Replaces `${NAME}`, `${NAME:-default}` and `${NAME-default}` as Compose does. */
export function interpolate(text: string, outside: Readonly<Record<string, string>>): string {
  return text.replace(/\$\{[^}]*\}/g, (part) => {
    const [, name = '', colon, fallback = ''] = /^\$\{(\w+)(?:(:?)-(.*))?\}$/.exec(part) ?? [];
    const value = outside[name];
    return value === undefined || (colon === ':' && value === '') ? fallback : value;
  });
}
