// Example receiver for cdc-bridge: verifies, stores, responds, and works afterwards. Copy it and fill in Book().
//
// csc -r:System.Runtime.Serialization.dll receiver.cs (.NET Framework 4.6 or newer; mcs of Mono), then start it with
// WEBHOOK_SECRET=whsec_... in its environment. It listens on http://localhost:8080/reservations, behind a proxy that
// terminates TLS and sends "localhost" as host, as IIS and nginx do, and keeps its data in receiver.journal in the
// current folder; PORT=NUMBER and STORE=FILE change that. The data is guests': keep the folder private (umask 077). Run
// one receiver per restaurant: two restaurants share no sequence.
using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Net;
using System.Runtime.Serialization.Json;
using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;
using System.Threading;
using System.Threading.Tasks;
using System.Xml;

static class Receiver
{
    static bool IsGenuine(string[] secrets, string id, string timestamp, string signatures, byte[] body, long now)
    {
        if (!Regex.IsMatch(timestamp, "^[0-9]{1,12}$") || Math.Abs(now - long.Parse(timestamp)) > 300) return false;
        byte[] signed = Encoding.UTF8.GetBytes(id + "." + timestamp + ".").Concat(body).ToArray();
        foreach (string secret in secrets)
            using (var hmac = new HMACSHA256(Convert.FromBase64String(secret.Substring("whsec_".Length))))
            {
                string expected = "v1," + Convert.ToBase64String(hmac.ComputeHash(signed));
                foreach (string given in signatures.Split(' ')) // Constant time: all characters are compared.
                    if (given.Length == expected.Length && given.Zip(expected, (a, b) => a ^ b).Sum() == 0) return true;
            }
        return false;
    }

    // During a rotation: the old secret, the new one, or both.
    static readonly string[] Secrets = (Environment.GetEnvironmentVariable("WEBHOOK_SECRET") ?? "")
        .Split(new[] { ' ' }, StringSplitOptions.RemoveEmptyEntries);
    const int LargestBodyBytes = 2 * 1024 * 1024;

    // Returns the response status. An error here, such as a full disk, becomes a 500, and the request is retried.
    static int Receive(HttpListenerRequest request)
    {
        if (request.HttpMethod != "POST") return 404;
        var raw = new MemoryStream(); // Raw bytes: re-serialised JSON differs.
        var chunk = new byte[65536];
        bool isTooLarge = false;
        for (int read; (read = request.InputStream.Read(chunk, 0, chunk.Length)) > 0;)
            if (!(isTooLarge |= raw.Length + read > LargestBodyBytes)) raw.Write(chunk, 0, read);
        if (isTooLarge) return 413; // Read to the end, or the client sees no response.
        byte[] body = raw.ToArray();
        string webhookId = request.Headers["webhook-id"] ?? "", timestamp = request.Headers["webhook-timestamp"] ?? "";
        long now = (long)(DateTime.UtcNow - new DateTime(1970, 1, 1)).TotalSeconds;
        if (!IsGenuine(Secrets, webhookId, timestamp, request.Headers["webhook-signature"] ?? "", body, now))
        {
            Console.Error.WriteLine("Rejected: no valid signature");
            return 401;
        }
        // A test request (cdc-bridge.test) is no reservation. Fails without the header, which a proxy may have removed.
        if (!request.Headers["ce-type"].StartsWith("reservation.")) return 204;
        // The ce- headers are not signed, these are: id is ce-subject, the number before the hyphen is ce-sequence.
        string id = Convert.ToBase64String(Encoding.UTF8.GetBytes(Json(body)["id"].ToString()));
        lock (Newest)
        {
            string[] known = Newest.ContainsKey(id) ? Newest[id] : new[] { id, "0-", "", "" };
            // Drop a duplicate (same webhook-id) and an older change (lower sequence), with a 204: no need to retry.
            if (webhookId != known[1] && Sequence(webhookId) >= Sequence(known[1]))
            {
                Keep(id, webhookId, Convert.ToBase64String(body), known[3]);
                ThreadPool.QueueUserWorkItem(_ => PassToTill(id)); // After the response.
            }
        }
        return 204;
    }

    static long Sequence(string webhookId) { return long.Parse(webhookId.Split('-')[0]); }

    // Returns the values of a JSON object, without the objects and lists in it. Rather use a library, if you have one.
    static Dictionary<string, StringBuilder> Json(byte[] body)
    {
        var values = new Dictionary<string, StringBuilder>();
        string key = "";
        using (var reader = JsonReaderWriterFactory.CreateJsonReader(body, XmlDictionaryReaderQuotas.Max))
            while (reader.Read())
                if (reader.Depth == 1 && reader.IsStartElement()) values[key = reader.LocalName] = new StringBuilder();
                else if (reader.Depth == 2 && reader.HasValue) values[key].Append(reader.Value);
        return values;
    }

    // The journal has a line for each state of a reservation, and its last line counts: id, webhook-id, the body until
    // the till has it (id and body in base64), and what the till has. If you have a database, use that instead.
    static readonly string Store = Environment.GetEnvironmentVariable("STORE") ?? "receiver.journal";
    static readonly Dictionary<string, string[]> Newest = new Dictionary<string, string[]>(); // Last lines by id.
    static FileStream Journal;
    static long Size, CompactAbove;

    static void Keep(params string[] line)
    {
        Journal.SetLength(Size); // A write that failed may have left something.
        Journal.Position = Size;
        Write(Journal, new[] { line });
        Newest[line[0]] = line;
        if (Size > CompactAbove) Compact();
    }

    // Writes lines, and has them on disk (Flush(true)) before the response: a 2xx means "stored".
    static void Write(FileStream file, IEnumerable<string[]> lines)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(string.Concat(lines.Select(line => string.Join("\t", line) + "\n")));
        file.Write(bytes, 0, bytes.Length);
        file.Flush(true);
        Size = file.Length;
    }

    // Writes the journal anew without the bodies that the till has: at the start, and when a megabyte has gathered.
    static void Compact()
    {
        using (var draft = File.Create(Store + ".new")) Write(draft, Newest.Values);
        if (Journal != null) Journal.Dispose();
        File.Open(Store, FileMode.OpenOrCreate).Dispose(); // There has to be one to replace.
        File.Replace(Store + ".new", Store, null);
        Journal = File.Open(Store, FileMode.Open);
        CompactAbove = Size + 1000000;
    }

    static void PassToTill(string id)
    {
        lock (Newest)
        {
            string[] line = Newest[id];
            if (line[2] == "") return; // Done already.
            string shown = Encoding.UTF8.GetString(Convert.FromBase64String(id));
            try // One line: passed to the till, and done.
            {
                Keep(id, line[1], "", Book(Json(Convert.FromBase64String(line[2])), line[3]));
                Console.WriteLine("Booked reservation " + shown);
            }
            catch (Exception error) // A reservation the till cannot take must not block the others.
            {
                Console.Error.WriteLine("Retrying reservation " + shown + " in a minute: " + error.Message);
                Task.Delay(60000).ContinueWith(_ => PassToTill(id));
            }
        }
    }

    // Passes a reservation to the till: write this yourself. Ignore keys you do not know. If the till is not in the
    // journal, a crash repeats this: insert or replace by id. Slow work (a request) here blocks every request.
    static string Book(IDictionary<string, StringBuilder> reservation, string before)
    {
        int adults = int.Parse(reservation["adults"].ToString());
        int passed = before == "" ? 1 : int.Parse(before.Split(' ')[2]) + 1; // How often it was passed.
        return reservation["datetime"] + " " + adults + " " + passed;
    }

    static void Respond(HttpListenerContext context)
    {
        int status = 500;
        try { status = Receive(context.Request); }
        catch (Exception error) { Console.Error.WriteLine(error); }
        try
        {
            context.Response.StatusCode = status;
            context.Response.Close();
        }
        catch (Exception) { } // The client is no longer there, and will repeat the request.
    }

    static void Main()
    {
        if (Secrets.Length == 0 || !Secrets.All(secret => secret.StartsWith("whsec_")))
        {
            Console.Error.WriteLine("Set WEBHOOK_SECRET=whsec_..., the signing secret.");
            Environment.Exit(1);
        }
        string text = File.Exists(Store) ? File.ReadAllText(Store) : "";
        // A line without its end was cut off by a crash, and not accepted.
        string[] lines = text.Split('\n');
        foreach (string[] line in lines.Take(lines.Length - 1).Select(each => each.Split('\t'))) Newest[line[0]] = line;
        Compact();
        foreach (string id in Newest.Keys.ToList()) ThreadPool.QueueUserWorkItem(_ => PassToTill(id));
        var listener = new HttpListener();
        string port = Environment.GetEnvironmentVariable("PORT") ?? "8080";
        listener.Prefixes.Add("http://localhost:" + port + "/reservations/");
        listener.Start();
        Console.WriteLine("Listening on port " + port);
        for (;;)
        {
            HttpListenerContext context = listener.GetContext();
            ThreadPool.QueueUserWorkItem(_ => Respond(context));
        }
    }
}
