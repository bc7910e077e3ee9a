/*
 *   client  n,,n=user,r=CLIENT                           gs2 header, then the bare message
 *   server  r=CLIENT SERVER,s=SALT,i=4096                the challenge
 *   client  c=biws,r=CLIENT SERVER,p=PROOF               c: the gs2 header in base64
 *   server  v=SIGNATURE
 *
 *   salted = PBKDF2(password, salt, rounds)              made when the password is set
 *   ClientKey = HMAC(salted, "Client Key"), StoredKey = H(ClientKey), ServerKey = HMAC(salted, "Server Key")
 *   signed = bare "," challenge "," client's last message without ",p=…"
 *   PROOF = ClientKey ^ HMAC(StoredKey, signed), SIGNATURE = HMAC(ServerKey, signed)
 *
 * So the proof gives the ClientKey back, and its hash must be the StoredKey. No password is needed, and the check takes
 * microseconds: it may be done on a loop.
 */
#include "auth/scram.h"

#include <sodium.h>
#include <stdio.h>

#include "auth/kdf.h"

bool scram_text_usable(struct slice text)
{
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < 0x20 || text.p[i] > 0x7E) {
            return false;
        }
    }
    return text.n > 0;
}

static void hmac(const uint8_t key[SCRAM_KEY_BYTES], struct slice text,
                 uint8_t out[SCRAM_KEY_BYTES])
{
    crypto_auth_hmacsha256_state st;
    (void)crypto_auth_hmacsha256_init(&st, key, SCRAM_KEY_BYTES);
    (void)crypto_auth_hmacsha256_update(&st, text.p, text.n);
    (void)crypto_auth_hmacsha256_final(&st, out);
}

void scram_derive(struct scram_keys *k, struct slice password)
{
    uint8_t salted[SCRAM_KEY_BYTES], client_key[SCRAM_KEY_BYTES];
    kdf_pbkdf2_sha256(password, slice_make(k->salt, sizeof k->salt), k->rounds, salted);
    hmac(salted, slice_str("Client Key"), client_key);
    (void)crypto_hash_sha256(k->stored_key, client_key, sizeof client_key);
    hmac(salted, slice_str("Server Key"), k->server_key);
    sodium_memzero(salted, sizeof salted);
    sodium_memzero(client_key, sizeof client_key);
}

/* ---- reading ---- */

/* Cuts what is before the next ',' off `rest`; false when nothing is left. */
static bool next_attribute(struct slice *rest, struct slice *out)
{
    if (rest->n == 0) {
        return false;
    }
    const uint8_t *at = memchr(rest->p, ',', rest->n);
    size_t n = at == NULL ? rest->n : (size_t)(at - rest->p);
    *out = slice_make(rest->p, n);
    *rest = slice_from(*rest, at == NULL ? n : n + 1);
    return true;
}

/* "x=value"; false when it is another attribute. */
static bool attribute(struct slice s, char name, struct slice *value)
{
    if (s.n < 2 || s.p[0] != (uint8_t)name || s.p[1] != '=') {
        return false;
    }
    *value = slice_from(s, 2);
    return true;
}

/* "=2C" is ',', "=3D" is '='; no other '=' may stand in a name. */
static bool read_name(struct slice s, char out[SCRAM_USER_MAX + 1], size_t *len)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++, n++) {
        if (n == SCRAM_USER_MAX) {
            return false;
        }
        out[n] = (char)s.p[i];
        if (s.p[i] == '=') {
            bool comma = s.n - i > 2 && memcmp(s.p + i, "=2C", 3) == 0;
            if (!comma && !(s.n - i > 2 && memcmp(s.p + i, "=3D", 3) == 0)) {
                return false;
            }
            out[n] = comma ? ',' : '=';
            i += 2;
        }
    }
    out[n] = '\0';
    *len = n;
    return n > 0;
}

static const char *read_gs2(struct slice message, size_t *length, struct slice *authzid)
{
    struct slice rest = message, flag, who;
    *authzid = slice_make(NULL, 0);
    if (!next_attribute(&rest, &flag) || rest.n == 0) {
        return "no gs2 header";
    }
    if (flag.n > 0 && flag.p[0] == 'p') {
        return "channel binding (p=) is not served";
    }
    if (flag.n != 1 || (flag.p[0] != 'n' && flag.p[0] != 'y')) {
        return "the gs2 header must begin with n, or y,";
    }
    (void)next_attribute(&rest, &who); /* rest is not empty */
    if (who.n > 0 && !attribute(who, 'a', authzid)) {
        return "the gs2 header must end with , or a=NAME,";
    }
    *length = (size_t)(rest.p - message.p);
    return NULL;
}

const char *scram_read_first(struct slice message, struct scram_first *out)
{
    size_t header = 0;
    struct slice authzid, part = {0}, name;
    if (message.n > SCRAM_MESSAGE_MAX) {
        return "the message has more than 2048 bytes";
    }
    const char *bad = read_gs2(message, &header, &authzid);
    if (bad != NULL) {
        return bad;
    }
    struct slice rest = slice_from(message, header);
    out->gs2 = slice_make(message.p, header);
    out->bare = rest;
    if (!next_attribute(&rest, &part) || !attribute(part, 'n', &name)) {
        return part.n > 0 && part.p[0] == 'm' ? "mandatory extensions (m=) are not served"
                                              : "no user name (n=)";
    }
    if (!read_name(name, out->user, &out->user_len)) {
        return "the user name (n=) must have 1 to 256 bytes, with = as =3D and , as =2C";
    }
    if (authzid.n > 0 && !slice_eq(authzid, name)) {
        return "the authorization name (a=) is not the user name";
    }
    if (!next_attribute(&rest, &part) || !attribute(part, 'r', &out->nonce) || out->nonce.n == 0) {
        return "no nonce (r=)";
    }
    return scram_text_usable(out->nonce) ? NULL : "the nonce (r=) must be printable ASCII";
}

/* ---- writing ---- */

static void put_base64(struct buf *out, const uint8_t *p, size_t n)
{
    size_t cap = sodium_base64_encoded_len(n, sodium_base64_VARIANT_ORIGINAL);
    char *at = (char *)buf_reserve(out, cap);
    (void)sodium_bin2base64(at, cap, p, n, sodium_base64_VARIANT_ORIGINAL);
    buf_commit(out, cap - 1); /* without its NUL */
}

void scram_put_challenge(struct buf *out, struct slice client_nonce, struct slice nonce,
                         const struct scram_keys *k)
{
    char rounds[16];
    buf_put_slice(out, slice_str("r="));
    buf_put_slice(out, client_nonce);
    buf_put_slice(out, nonce);
    buf_put_slice(out, slice_str(",s="));
    put_base64(out, k->salt, sizeof k->salt);
    (void)snprintf(rounds, sizeof rounds, ",i=%u", k->rounds);
    buf_put_slice(out, slice_str(rounds));
}

/* ---- the proof ---- */

/* The client-final-message but for its proof; NULL when it is good. */
static const char *read_final(const struct scram_talk *t, struct slice message,
                              struct slice *unsigned_part, uint8_t proof[SCRAM_KEY_BYTES])
{
    struct slice rest = message, part, value;
    uint8_t header[SCRAM_MESSAGE_MAX];
    size_t n = 0;
    if (!next_attribute(&rest, &part) || !attribute(part, 'c', &value) ||
        sodium_base642bin(header, sizeof header, (const char *)value.p, value.n, NULL, &n, NULL,
                          sodium_base64_VARIANT_ORIGINAL) != 0 ||
        !slice_eq(slice_make(header, n), t->gs2)) {
        return "its c= is not the gs2 header of the first message";
    }
    if (!next_attribute(&rest, &part) || !attribute(part, 'r', &value) ||
        !slice_eq(value, t->nonce)) {
        return "its nonce (r=) is not the one of the challenge";
    }
    do { /* extensions that need not be understood */
        if (!next_attribute(&rest, &part)) {
            return "no proof (p=)";
        }
    } while (!attribute(part, 'p', &value));
    if (rest.n != 0 ||
        sodium_base642bin(proof, SCRAM_KEY_BYTES, (const char *)value.p, value.n, NULL, &n, NULL,
                          sodium_base64_VARIANT_ORIGINAL) != 0 ||
        n != SCRAM_KEY_BYTES) {
        return "its proof (p=) must be 32 bytes in base64, and come last";
    }
    *unsigned_part = slice_make(message.p, (size_t)(part.p - message.p) - 1);
    return NULL;
}

enum scram_verdict scram_check_final(const struct scram_talk *t, const struct scram_keys *k,
                                     struct slice message, struct buf *out, const char **why)
{
    struct slice part;
    struct buf text = {0};
    uint8_t key[SCRAM_KEY_BYTES], mask[SCRAM_KEY_BYTES], hash[SCRAM_KEY_BYTES];
    *why = message.n > SCRAM_MESSAGE_MAX ? "the message has more than 2048 bytes"
                                         : read_final(t, message, &part, key);
    if (*why != NULL) {
        return SCRAM_MALFORMED;
    }
    buf_put_slice(&text, t->bare);
    buf_put_u8(&text, ',');
    buf_put_slice(&text, t->challenge);
    buf_put_u8(&text, ',');
    buf_put_slice(&text, part);
    hmac(k->stored_key, buf_slice(&text), mask);
    for (size_t i = 0; i < sizeof key; i++) {
        key[i] ^= mask[i];
    }
    (void)crypto_hash_sha256(hash, key, sizeof key);
    bool good = sodium_memcmp(hash, k->stored_key, sizeof hash) == 0;
    hmac(k->server_key, buf_slice(&text), hash);
    if (good) {
        buf_put_slice(out, slice_str("v="));
        put_base64(out, hash, sizeof hash);
    }
    sodium_memzero(key, sizeof key);
    buf_fini(&text);
    return good ? SCRAM_GOOD : SCRAM_WRONG_PROOF;
}
